"""Limits of a DAG file. What is beyond them is refused before it can cost time or memory."""

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 1_500_000
MAX_CONTAINERS = 300_000
MAX_UNLIKE_SCALARS = 600_000
MAX_OPERATORS = 10_000
MAX_EDGES = 100_000
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**63 - 1
MAX_NAME_CHARACTERS = 255
MAX_DESCRIPTION_CHARACTERS = 10_000

MAX_NUMBER_CHARACTERS = 4_000
"""A number written longer than this is refused unread; no float needs more digits."""
