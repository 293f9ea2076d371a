"""`python -m executors.runtime TASK_FILE`: carry out a task on a remote worker.

The file holds a `RemoteTask` as JSON. The outcome is written beside it under the name
`<TASK_FILE>.outcome`, complete or not at all; progress under `<TASK_FILE>.progress`. The exit code
is 0 when the outcome was written, whatever it says. A file with secrets in it is removed once it
was read; `write_task_file` makes it so that nobody else reads it before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from executors.base import ExecutorSettings, Outcome, Task
from executors.private_files import write_private_bytes
from executors.runtime.attempt import run_attempt
from executors.sealing import needs_sealing

CANCEL_SUFFIX = ".cancel"
OUTCOME_SUFFIX = ".outcome"
PROGRESS_SUFFIX = ".progress"


class RemoteTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a remote worker is given: the task, and the settings as they hold where it runs."""

    task: Task
    settings: ExecutorSettings


def write_task_file(path: Path, remote: RemoteTask) -> None:
    """Write a task for `run_task_file`, so that only this user can read it."""
    write_private_bytes(path, msgspec.json.encode(remote))


def run_task_file(path: Path) -> Outcome:
    """Carry out the task in a file and write its outcome beside it.

    A file of the same name with the ending `.cancel` asks to stop.
    """
    remote = msgspec.json.decode(path.read_bytes(), type=RemoteTask)
    if needs_sealing(remote.task):
        path.unlink()
    cancel_mark = path.with_name(path.name + CANCEL_SUFFIX)
    progress_path = path.with_name(path.name + PROGRESS_SUFFIX)
    outcome = run_attempt(
        remote.task,
        remote.settings,
        lambda told: _write(progress_path, told),
        cancel_mark.exists,
    )
    _write(path.with_name(path.name + OUTCOME_SUFFIX), outcome)
    return outcome


def main() -> int:
    """Read the command line."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m executors.runtime TASK_FILE\n")
        return 2
    try:
        run_task_file(Path(sys.argv[1]))
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"The task file {sys.argv[1]} cannot be carried out: {error}\n")
        return 2
    return 0


def _write(path: Path, outcome: Outcome) -> None:
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(outcome))
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


if __name__ == "__main__":
    sys.exit(main())
