"""The lock around SQLite's write transactions."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from dag_engine.storage.write_lock import WriteLock
from tests.support.waiting import wait_until


def hold(path: Path) -> int:
    """Hold the lock through another open file, as another process would."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def test_one_thread_holds_it_at_a_time(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock")
    assert lock.acquire(1.0)
    started = time.monotonic()
    assert not lock.acquire(0.05)
    assert time.monotonic() - started < 1.0
    lock.release()
    assert lock.acquire(0.0)
    lock.release()
    lock.close()


def test_a_waiter_gets_it_as_soon_as_another_process_lets_go(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock")
    other = hold(lock.path)
    got: list[bool] = []
    waiter = threading.Thread(target=lambda: got.append(lock.acquire(10.0)))
    waiter.start()
    wait_until(lambda: any(t.name == "write-lock" for t in threading.enumerate()))
    os.close(other)
    waiter.join()
    assert got == [True]
    lock.release()
    lock.close()


def test_a_waiter_that_gave_up_does_not_keep_it(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock")
    other = hold(lock.path)
    assert not lock.acquire(0.05)
    assert not lock.acquire(0.05)
    os.close(other)
    wait_until(lambda: not any(t.name == "write-lock" for t in threading.enumerate()))
    assert lock.acquire(1.0)
    lock.release()
    again = hold(lock.path)
    os.close(again)
    lock.close()


def test_the_kernel_names_the_holder(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock")
    assert lock.find_holder() is None
    assert lock.acquire(1.0)
    assert lock.find_holder() == os.getpid()
    lock.release()
    assert lock.find_holder() is None
    lock.close()
