"""The command line: the `dagengine` program."""
