"""Operators that misbehave hurt themselves alone, and what they die of is called by its name.

Each runs in a pool of four beside three innocent operators, in a real service: with memory and
process limits that the kernel keeps, and with those that are kept by watching alone.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from tests.support.length import IS_LONG
from tests.support.ward import LOG_LIMIT_BYTES, MAX_PROCESSES, Poison, Ward, open_ward

N_ROUNDS = 3 if IS_LONG else 1
N_OUTPUT_BYTES = 1_000_000_000
PAUSE_S = 0.0001
"""After each 64 KiB: the gigabyte takes two seconds and more. Without, a fast disk has all of it
before a watcher that waits for a core gets its turn."""
OVERSHOOT_BYTES = 600_000_000  # what is written while the watcher waits for its turn
FOUR_KILLED = ("killed",) * 4

POISONS = (
    Poison(operator="segfault", reason="segfault"),
    Poison(operator="exit", reason="exited"),
    Poison(operator="kill", reason="quarantined", attempts=FOUR_KILLED, said="killed 4 times"),
    Poison(operator="spin", reason="timeout", run={"timeout_s": 0.5}, noticed_s=1.5),
    Poison(
        operator="hang",
        reason="timeout",
        params={"is_deaf": True},
        run={"timeout_s": 0.5},
        noticed_s=1.5,
    ),
    Poison(operator="closes_descriptors", reason="exited", params={"first": 0}),
    Poison(
        operator="forks_setsid_child", reason="ran", state="succeeded", params={"then": "return"}
    ),
    Poison(
        operator="forks_setsid_child",
        reason="timeout",
        run={"timeout_s": 0.5},
        noticed_s=1.5,
    ),
    Poison(
        operator="memory_hog",
        reason="out_of_memory",
        run={"resources": {"memory_mb": 200}},
    ),
    Poison(
        operator="fork_bomb",
        reason="too_many_processes",
        params={"limit": MAX_PROCESSES // 2},
        said=f"limit of {MAX_PROCESSES}",
        is_crowd=True,
    ),
    Poison(
        operator="leaves_threads",
        reason="too_many_processes",
        params={"n": MAX_PROCESSES, "seconds": 600},
    ),
    Poison(operator="leaves_threads", reason="ran", state="succeeded", params={"n": 20}),
    Poison(operator="leaves_files_open", reason="ran", state="succeeded", params={"n": 200}),
    Poison(
        operator="leaves_files_open",
        reason="error",
        params={"n": 100_000},
        said="Too many open files",
    ),
)


GIGABYTE = Poison(
    operator="huge_log",
    reason="ran",
    state="succeeded",
    params={"n_bytes": N_OUTPUT_BYTES, "pause_s": PAUSE_S},
    noticed_s=60,  # it may write as long as it likes
)


@pytest.mark.timeout(900 if IS_LONG else 180)
@pytest.mark.parametrize("cgroups", ["auto", "off"])
def test_each_poison_hurts_itself_alone(tmp_path: Path, cgroups: str) -> None:
    with open_ward(tmp_path, cgroups=cgroups) as ward:
        for _ in range(N_ROUNDS):
            for poison in POISONS:
                ward.give(poison)
        if cgroups == "auto":
            _check_gigabyte(ward)


def _check_gigabyte(ward: Ward) -> None:
    """A gigabyte of output is cut while it is written: afterwards the disk would be full."""
    logs = ward.service.home / "artifacts" / "logs"
    with LargestFile(logs) as largest:
        run_id = ward.give(GIGABYTE)
    assert LOG_LIMIT_BYTES < largest.size_bytes < LOG_LIMIT_BYTES + OVERSHOOT_BYTES
    log = (logs / run_id / "0.1.log").read_text()
    assert log[:LOG_LIMIT_BYTES] == "0123456789abcde\n" * (LOG_LIMIT_BYTES // 16)
    mark = re.fullmatch(
        rf"\n\[log cut: it reached its limit of {LOG_LIMIT_BYTES} bytes;"
        r" at least (\d+) more were dropped\]\n",
        log[LOG_LIMIT_BYTES:],
    )
    assert mark is not None, log[LOG_LIMIT_BYTES:][:1000]
    assert N_OUTPUT_BYTES / 2 < int(mark[1]) <= N_OUTPUT_BYTES - LOG_LIMIT_BYTES


class LargestFile:
    """Watches how large the largest log below a folder ever is."""

    def __init__(self, folder: Path) -> None:
        self.size_bytes = 0
        self._folder = folder
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="largest-file")

    def __enter__(self) -> LargestFile:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(0.002):
            for path in self._folder.glob("r*/*.log"):
                self.size_bytes = max(self.size_bytes, path.stat().st_size)
