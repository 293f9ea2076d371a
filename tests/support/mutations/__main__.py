"""`python -m tests.support.mutations [WORD …]`: try the mutations and print their table.

Words choose those mutations whose names hold one of them. The exit code is 0 when every suite went
red.
"""

from __future__ import annotations

import sys

from tests.support.mutations.guards import MUTATIONS
from tests.support.mutations.workbench import describe_trials, try_mutation


def main(words: list[str]) -> int:
    """Try what was chosen, telling each trial as it ends."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    trials = []
    for mutation in chosen:
        for suite in mutation.suites:
            trials.append(try_mutation(mutation, suite))
            word = "red" if trials[-1].is_red else "NOT RED"
            sys.stderr.write(f"{mutation.name}: {suite.tests}: {word}\n")
            if not trials[-1].is_red:
                sys.stderr.write(trials[-1].output[-3000:])
    sys.stdout.write(describe_trials(trials) + "\n")
    return 0 if trials and all(trial.is_red for trial in trials) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
