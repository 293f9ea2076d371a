"""The scheduler process: the single writer of task states."""
