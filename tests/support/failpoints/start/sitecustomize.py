"""Found by the interpreter at its start; nothing happens unless a test asks for it."""

import os
import sys

if "DAGENGINE_FAILPOINTS" in os.environ:
    # Not the installed packages, but the project that this file belongs to.
    sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4)))
    from tests.support.failpoints import inside

    inside.install(os.environ["DAGENGINE_FAILPOINTS"])
