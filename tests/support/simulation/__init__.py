"""The real scheduler under virtual time: random histories, every kind of loss, every promise
checked.

`run_histories(seeds)` plays one history for each seed and returns a report; a history that breaks a
promise is told with its seed and its trace, and `python -m tests.support.simulation SEED` repeats
it.
"""

from tests.support.simulation.history import Broken, Report, run_histories

__all__ = ["Broken", "Report", "run_histories"]
