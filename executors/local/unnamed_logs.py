"""Logs that bear no attempt's name yet.

Each worker has one open, below the folder of all logs. It gets the name of an attempt once that
has written something, or has run for a moment: so a short attempt that writes nothing leaves no
log, and costs no change of a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket

from executors.local.options import log_path
from executors.plain_files import open_folder

_FOLDER = ".unnamed"


class UnnamedLogs:
    """The unnamed logs of one pool's workers.

    Parameters
    ----------
    logs : str
        Folder of all logs, which pools of several machines may share.
    pool : str
        What no other pool of this machine has: the path of its socket.
    """

    def __init__(self, logs: str, pool: str) -> None:
        owner = f"{socket.gethostname()} {pool}"
        self._logs = logs
        self._folder = os.path.join(logs, _FOLDER)
        self._prefix = hashlib.sha256(owner.encode()).hexdigest()[:12] + "-"

    def path(self, worker_pid: int) -> str:
        """Path of the unnamed log of a worker."""
        return os.path.join(self._folder, f"{self._prefix}{worker_pid}.log")

    def give_name(self, worker_pid: int, attempt_id: str) -> None:
        """Make the unnamed log of a worker that of an attempt, unless it is that already.

        Raises `NotPlainError` where something else lies in the place of the run's folder, and
        `OSError` where the log cannot be moved there.
        """
        unnamed, path = self.path(worker_pid), log_path(self._logs, attempt_id)
        if not os.path.lexists(unnamed):
            return
        folder = open_or_make_folder(os.path.dirname(path))
        try:
            with contextlib.suppress(FileNotFoundError):  # the worker and its supervisor both did
                os.rename(unnamed, os.path.basename(path), dst_dir_fd=folder)
        finally:
            os.close(folder)

    def remove(self, worker_pid: int) -> None:
        """Remove the unnamed log of a worker that has gone."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(worker_pid))

    def clear(self) -> None:
        """Remove what the workers of a former supervisor left."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                if name.startswith(self._prefix):
                    os.unlink(os.path.join(self._folder, name))


def open_or_make_folder(path: str) -> int:
    """Open a folder, which may be missing yet; errors are those of `open_folder`."""
    try:
        return open_folder(path)
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)
        return open_folder(path)
