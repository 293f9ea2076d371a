"""What connections, secrets, queues and executors may be called."""

from __future__ import annotations

import re

NAME_PATTERN = r"\w[\w-]{0,127}"
"""For a whole name; what takes it adds its own marks of beginning and end."""
NAME_RULE = "letters, digits, _ and - only, at most 128 of them"
_NAME = re.compile(NAME_PATTERN)


def is_name(name: str) -> bool:
    r"""Tell whether a thing may bear this name.

    Examples
    --------
    >>> is_name("bank-1"), is_name("-x"), is_name("bank\n")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None
