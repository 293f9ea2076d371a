"""The settings of one operator engine: a JSON file that its launcher writes and its processes
read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from executors.base import ExecutorSettings
from executors.private_files import write_private_bytes
from executors.store import get_local_path, is_local
from operator_engine.errors import SettingsError


class ExecutorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One executor: `class_path` is `package.module:Class` (empty = the entry point of that name).

    `slots` 0 means as many as the engine has.
    """

    name: str
    class_path: str = ""
    data_types: list[str] = []
    options: dict[str, Any] = {}
    slots: int = 0


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of one operator engine are told.

    Parameters
    ----------
    engine_id : str
        Name of the engine, the same after every restart.
    host, port : str, int
        Where main listens (port 0 = any free one).
    advertise_url : str
        Address under which the dag engine reaches main; empty = `http://<host>:<port>`.
    dag_engine_url, token : str
        The dag engine's address, or those of several separated by commas, and the API token that
        is sent to it (may be empty).
    home : str
        Folder of this engine on this machine.
    store_url : str
        fsspec URL of the artifact store; empty = it is asked of the dag engine before the start.
    logs : str
        Folder of the attempts' logs; empty = in the store when that is local, else under home.
    slots : int
        How many tasks run at once (0 = one per CPU that this process may use, but at least two).
    poll_s : float
        How long one poll of an executor waits.
    gather_s : float
        How long a starting main waits for its children and executors to say what they hold.
    """

    engine_id: str
    home: str
    dag_engine_url: str
    host: str = "127.0.0.1"
    port: int = 0
    advertise_url: str = ""
    token: str = ""
    labels: dict[str, str] = {}
    slots: int = 0
    store_url: str = ""
    logs: str = ""
    algorithm_paths: list[str] = []
    executors: list[ExecutorEntry] = msgspec.field(
        default_factory=lambda: [ExecutorEntry(name="local")]
    )
    heartbeat_s: float = 2.0
    poll_s: float = 30.0
    gather_s: float = 10.0
    version: str = ""

    def engine_slots(self) -> int:
        """Return how many tasks this engine runs at once."""
        return self.slots or max(2, len(os.sched_getaffinity(0)))

    def executor_slots(self, entry: ExecutorEntry) -> int:
        """Return how many tasks one of its executors runs at once."""
        return entry.slots or self.engine_slots()

    def logs_folder(self) -> str:
        """Return the folder of the attempts' logs."""
        if self.logs:
            return self.logs
        if self.store_url and is_local(self.store_url):
            return os.path.join(get_local_path(self.store_url), "logs")
        return os.path.join(self.home, "logs", "attempts")

    def are_logs_in_store(self) -> bool:
        """Tell whether logs are written where the dag engine reads them."""
        if not is_local(self.store_url):
            return False
        in_store = os.path.join(get_local_path(self.store_url), "logs")
        return os.path.realpath(self.logs_folder()) == os.path.realpath(in_store)

    def run_folder(self) -> Path:
        """Return the folder of sockets, pid files and settings."""
        return Path(self.home) / "run"

    def socket_path(self) -> str:
        """Return the Unix socket on which main listens for its children."""
        return str(self.run_folder() / "engine.sock")

    def for_executor(self, entry: ExecutorEntry) -> ExecutorSettings:
        """Return what an executor is told of its engine."""
        return ExecutorSettings(
            home=self.home,
            logs=self.logs_folder(),
            store_url=self.store_url,
            algorithm_paths=self.algorithm_paths,
            slots=self.executor_slots(entry),
        )


def write_private_json(path: Path, value: Any) -> None:
    """Write a file of JSON that only this user may read, in one step."""
    write_private_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=2))


def write_engine_settings(settings: EngineSettings, path: Path) -> None:
    """Write the settings for the engine's processes."""
    write_private_json(path, settings)


def read_engine_settings(path: Path) -> EngineSettings:
    """Read what the launcher wrote. Raises `SettingsError` naming the file."""
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=EngineSettings)
    except OSError as error:
        raise SettingsError(str(path), f"{error.strerror}. The launcher writes it.") from error
    except msgspec.DecodeError as error:
        raise SettingsError(str(path), str(error)) from error
    check_settings(settings, str(path))
    return settings


def check_settings(settings: EngineSettings, path: str) -> None:
    """Check what the types do not. Raises `SettingsError`."""
    names = [entry.name for entry in settings.executors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(path, f"the executor {twice[0]!r} is configured twice")
    if not names:
        raise SettingsError(path, "no executor is configured; add one under `executors`")
    if not settings.engine_id:
        raise SettingsError(path, "`engine_id` is empty")
    if settings.slots < 0 or any(entry.slots < 0 for entry in settings.executors):
        raise SettingsError(path, "`slots` is negative; 0 means one per CPU")
