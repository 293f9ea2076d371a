"""One child process of a launcher: its log, its pid file, its end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from operator_engine.orphans import make_death_bond

log = logging.getLogger(__name__)

LOG_LIMIT_BYTES = 10 * 1024 * 1024
_N_OLD_LOGS = 3
RESTARTS_FILE = "restarts.json"


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
    stop_stage : int
        At a stop, processes of a lower stage end before those of a higher one are asked to.
    is_drained : bool
        At a stop it first gets SIGUSR1: let what runs end, take nothing more on.
    ends_drained : bool
        It ends by itself when it is drained; this is what the launcher waits for.
    pass_fds : tuple of int
        Open files that it inherits, under the same numbers.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] | None = None
    death_signal: int = signal.SIGKILL
    stop_stage: int = 0
    is_drained: bool = False
    ends_drained: bool = False
    pass_fds: tuple[int, ...] = ()


class ChildProcess:
    """A running child, in a session of its own, with the whole environment `env`."""

    def __init__(self, spec: ProcessSpec, home: Path, env: dict[str, str]) -> None:
        self.name = spec.name
        self._pid_path = home / "run" / f"{spec.name}.pid"
        self._pid_path.parent.mkdir(parents=True, exist_ok=True)
        log_path = home / "logs" / "services" / f"{spec.name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        trim_log(log_path)
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
        self._send(signal.SIGTERM)

    def drain(self) -> None:
        """Tell it to let its work end."""
        self._send(signal.SIGUSR1)

    def kill(self) -> None:
        """Kill it with its process group, and wait for its end."""
        if self.poll() is None:
            self._kill_group()
            self._process.wait()

    def close(self) -> None:
        """Give back what was held for a process that has ended."""
        os.close(self.pidfd)
        self._pid_path.unlink(missing_ok=True)

    def _send(self, number: signal.Signals) -> None:
        # Not by `Popen`, which waits for a child that has ended, and whose group nobody kills then.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def write_restarts(run_folder: Path, restarts: dict[str, int]) -> None:
    """Tell other processes how often each child had to be started again."""
    partial = run_folder / "restarts.new"
    try:
        partial.write_text(json.dumps(restarts), encoding="ascii")
        partial.replace(run_folder / RESTARTS_FILE)
    except OSError as error:  # a full disk must not end the launcher
        log.warning("restarts_not_written detail=%s", error)


def read_restarts(run_folder: Path) -> dict[str, int]:
    """Read how often each child of the launcher had to be started again."""
    try:
        found = json.loads((run_folder / RESTARTS_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return {}
    return {str(name): int(n) for name, n in found.items()}


def trim_log(path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Put a log aside that has grown too long; the oldest of three is dropped.

    Its process goes on writing into the same file, at its end, so that is copied and emptied; a
    line written in between is lost.
    """
    try:
        if path.stat().st_size < limit_bytes:
            return
        for number in range(_N_OLD_LOGS, 1, -1):
            older = path.with_name(f"{path.name}.{number - 1}")
            if older.exists():
                older.replace(path.with_name(f"{path.name}.{number}"))
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except FileNotFoundError:
        return
    except OSError as error:  # a full disk: then at least the log itself gives its room back
        log.warning("log_not_kept path=%s detail=%s", path, error)
        with contextlib.suppress(OSError):  # gone, or not to be written: no reason to end
            os.truncate(path, 0)
