"""Faults inside the real processes, put there from outside: production code knows nothing of them.

`start/sitecustomize.py` is found by every Python process that a test starts with the environment
of `FailpointFolder.environment()`. It learns from the command line which process of the service it
is in, and wraps functions once their modules are imported: at the points of `points.py` a process
can be killed before or after its k-th commit, a commit can be followed by an error, a statement be
preceded by one. `patches.py` changes code by name.

A test holds a `FailpointFolder` (`control.py`) and arms and disarms through files in it, so that
one service serves many faults.
"""
