"""One child process of a launcher: its log, its pid file, its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from operator_engine.orphans import make_death_bond

log = logging.getLogger(__name__)

_LOG_LIMIT_BYTES = 10 * 1024 * 1024
_N_OLD_LOGS = 3


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to run.

    Parameters
    ----------
    name : str
        Name of its log and pid file.
    argv : list of str
        The program and its arguments.
    env : dict
        What is added to this process's environment.
    is_ready : callable, optional
        Tells whether the process does its work; asked until it says so once.
    death_signal : int
        What the process gets from the kernel when the launcher dies.
    pass_fds : tuple of int
        Open files that it inherits, under the same numbers.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    death_signal: int = signal.SIGKILL
    pass_fds: tuple[int, ...] = ()


class ChildProcess:
    """A running child, in a session of its own, with the whole environment `env`."""

    def __init__(self, spec: ProcessSpec, home: Path, env: dict[str, str]) -> None:
        self.name = spec.name
        self._pid_path = home / "run" / f"{spec.name}.pid"
        self._pid_path.parent.mkdir(parents=True, exist_ok=True)
        log_path = home / "logs" / "services" / f"{spec.name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        _rotate(log_path)
        with log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
                pass_fds=spec.pass_fds,
                preexec_fn=make_death_bond(spec.death_signal),
            )
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self._pid_path.write_text(str(self.pid), encoding="ascii")
        log.info("process_started name=%s pid=%d", self.name, self.pid)

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs.

        What is left of its process group is killed before its process id is given back: from then
        on the id may belong to somebody else.
        """
        if self._process.returncode is None:
            state = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if state is None:
                return None
            self._kill_group()
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill it with its process group, and wait for its end."""
        if self.poll() is None:
            self._kill_group()
            self._process.wait()

    def close(self) -> None:
        """Give back what was held for a process that has ended."""
        os.close(self.pidfd)
        self._pid_path.unlink(missing_ok=True)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _rotate(path: Path) -> None:
    """Move a log aside that has grown too long; the oldest of three is dropped."""
    if not path.exists() or path.stat().st_size < _LOG_LIMIT_BYTES:
        return
    for number in range(_N_OLD_LOGS, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    path.replace(path.with_name(f"{path.name}.1"))
