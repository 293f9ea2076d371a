"""Whether tests run in their long form (`make faults`) or in their short one (`make test`)."""

import os

IS_LONG = "DAGENGINE_TEST_LONG" in os.environ
