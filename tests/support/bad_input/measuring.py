"""What a request costs and changes: processor time, memory, rows, files, living processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

CPU_BOUND_S = 2.0
GROWTH_BOUND_BYTES = 100 * 1024 * 1024
_PIECE = "a: [" + "[]," * 50_000 + "]"
_PIECE_S = 0.12
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PASSED_OVER = frozenset({"./run", "./logs", "./spool", "./artifacts/logs", "artifacts/logs"})
_RESET_PEAK = "5"


def find_children(pid: int) -> set[int]:
    """Find the living children of a process."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (task / "children").read_text().split()))
    return found


def read_cpu_s(pid: int) -> float:
    """Read how long a process has computed so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def find_bound_s() -> float:
    """Give the bound for this core as it is now.

    It is meant for a core that parses the piece below in 0.12 s. One that shares caches and
    execution units with other busy processes needs longer, and says so in processor time.
    """
    return CPU_BOUND_S * max(1.0, max(_parse_piece_s() for _ in range(3)) / _PIECE_S)


def _parse_piece_s() -> float:
    began = time.process_time()
    loader = yaml.CSafeLoader(_PIECE)
    kept = []
    while loader.check_event():
        kept.append(loader.get_event().start_mark.index)
    loader.dispose()
    return time.process_time() - began


def read_memory(pid: int) -> dict[str, int]:
    """Read `VmRSS` and its peak `VmHWM` in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("VmRSS", "VmHWM"):
            found[name] = int(rest.split()[0]) * 1024
    return found


class RowCounter:
    """Counts the rows of every table of an SQLite file; anew only where it has changed."""

    def __init__(self, database: Path) -> None:
        uri = f"file:{database}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._version = -1
        self._rows: dict[str, int] = {}

    def count(self) -> dict[str, int]:
        """Count."""
        query = self._connection.execute
        (version,) = query("PRAGMA data_version").fetchone()
        if version != self._version:
            # Signs of life come by themselves, whatever is asked.
            names = query(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'components'"
            ).fetchall()
            self._rows = {
                name: query(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for (name,) in names
            }
            self._version = version
        return self._rows

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def list_files(folder: Path) -> dict[str, int]:
    """List what lies below a folder with the sizes, without what a running service changes."""
    found = {}
    for place, folders, names in os.walk(folder):
        relative = os.path.relpath(place, folder)
        folders[:] = [name for name in folders if os.path.join(relative, name) not in _PASSED_OVER]
        for name in names:
            path = os.path.join(place, name)
            if not name.startswith(("dagengine.db", "output.txt")):
                with contextlib.suppress(FileNotFoundError):
                    found[os.path.normpath(os.path.join(relative, name))] = os.lstat(path).st_size
    return found


@dataclass(slots=True)
class Before:
    """How things stood before a request."""

    pids: frozenset[int]
    cpu_s: float
    memory_bytes: dict[int, int]
    rows: dict[str, int]
    files: dict[str, int]


class Watch:
    """Looks at a service before and after a request that must cost little and change nothing.

    Parameters
    ----------
    home : Path
        Folder of the service; the folder `outside` beside it must stay as it is.
    api_pid : int
        The process whose children answer requests.
    others : collection of int
        Processes that must stay alive besides.
    """

    def __init__(self, home: Path, outside: Path, api_pid: int, others: frozenset[int]) -> None:
        self._home = home
        self._outside = outside
        self._rows = RowCounter(home / "dagengine.db")
        self._api_pid = api_pid
        self._others = others

    def close(self) -> None:
        """Let the database go."""
        self._rows.close()

    def look(self) -> Before:
        """Note how things stand, and forget the peaks of memory so far."""
        workers = frozenset(find_children(self._api_pid))
        for pid in workers:
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
        return Before(
            pids=workers | self._others,
            cpu_s=sum(map(read_cpu_s, workers)),
            memory_bytes={pid: read_memory(pid)["VmRSS"] for pid in workers},
            rows=self._rows.count(),
            files=self._list_files(),
        )

    def check(self, before: Before, told: str, *, changes: bool = False) -> None:
        """Fail where a bound is passed; `changes` lets rows and files come about."""
        workers = frozenset(find_children(self._api_pid))
        assert {pid for pid in before.pids if not Path(f"/proc/{pid}").exists()} == set(), told
        assert workers <= before.pids, f"{told}: a worker of the api was replaced"
        cpu_s = sum(map(read_cpu_s, workers)) - before.cpu_s
        assert cpu_s < CPU_BOUND_S or cpu_s < find_bound_s(), (
            f"{told}: {cpu_s:.2f} s of processor time"
        )
        growth = sum(read_memory(pid)["VmHWM"] - before.memory_bytes[pid] for pid in workers)
        assert growth < GROWTH_BOUND_BYTES, f"{told}: grew by {growth >> 20} MiB"
        if not changes:
            rows = self._rows.count().items() ^ before.rows.items()
            assert rows == set(), f"{told}: rows came or went: {rows}"
            files = self._list_files().items() ^ before.files.items()
            assert files == set(), f"{told}: files came or went: {files}"

    def _list_files(self) -> dict[str, int]:
        return list_files(self._home) | {
            f"outside/{name}": size for name, size in list_files(self._outside).items()
        }
