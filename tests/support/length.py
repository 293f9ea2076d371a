"""Whether tests run in their long form (`make faults`) or in their short one (`make test`)."""

import os

IS_LONG = "DAGENGINE_TEST_LONG" in os.environ

BESIDE_OTHERS = 1 if IS_LONG else 3
"""How many times a promised time a test may wait: the short form of a test runs beside others that
want the same cores, and cannot tell a slow service from a machine that gave it no turn. What is
promised is measured in the long form.
"""
