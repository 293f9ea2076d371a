"""The local executor: a supervised pool of warm worker processes on this machine."""
