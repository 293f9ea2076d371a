"""Lets writers that come at the same time share one transaction.

To begin and to commit costs as much as what most of them write, and meanwhile the next one waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy.engine import Connection

from dag_engine.storage.errors import DatabaseUnavailableError

T = TypeVar("T")
Work = Callable[[Connection], T]

_MOST = 16
"""So many share one transaction, which holds up whoever else writes."""


class _Writer(Generic[T]):
    """What one writer does, and how that went; neither result nor error: it is to try by itself."""

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.leads = False
        self.results: list[T] = []
        self.error: DatabaseUnavailableError | None = None


class SharedCommits:
    """The writers of one process. One of them leads: it writes what all have brought that came
    while it waited for its turn at the database, and then lets the next one lead.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Writer[Any]] = []
        self._has_leader = False

    def run(self, work: Work[T], write: Callable[[Work[Any]], Any]) -> T:
        """Run `work` in a transaction that others may share; return its result once committed.

        Where one of several fails, each has a transaction of its own, and its own error.

        Parameters
        ----------
        work : callable
            Gets the connection; it may be called again, as `Database.run_txn` says.
        write : callable
            Runs such a function in one transaction, and gives back what it returned.

        Raises
        ------
        DatabaseUnavailableError
            If the database could not be used: whoever waited meanwhile is told so too, and does
            not try for as long once more.
        """
        writer = _Writer(work)
        with self._lock:
            self._waiting.append(writer)
            writer.leads = not self._has_leader
            self._has_leader = True
        if not writer.leads:
            writer.woken.wait()
        if writer.leads:
            self._lead(writer, write)
        if writer.results:
            return writer.results[0]
        if writer.error is not None:
            raise DatabaseUnavailableError(writer.error.detail) from writer.error
        result: T = write(work)
        return result

    def _lead(self, leader: _Writer[Any], write: Callable[[Work[Any]], Any]) -> None:
        group: list[_Writer[Any]] = []

        def work_all(connection: Connection) -> list[Any]:
            with self._lock:  # called again, it may have room for more
                n_more = _MOST - len(group)
                group.extend(self._waiting[:n_more])
                del self._waiting[:n_more]
            return [writer.work(connection) for writer in group]

        try:
            for writer, result in zip(group, write(work_all), strict=True):
                writer.results.append(result)
        except DatabaseUnavailableError as error:
            with self._lock:
                group.extend(self._waiting)
                self._waiting.clear()
            for writer in group:
                writer.error = error
        except Exception:
            if len(group) == 1:
                raise
        finally:
            self._pass_on(leader, group)

    def _pass_on(self, leader: _Writer[Any], group: list[_Writer[Any]]) -> None:
        with self._lock:
            if not group:  # it failed before anything was written
                self._waiting.remove(leader)
            heir = self._waiting[0] if self._waiting else None
            self._has_leader = heir is not None
        if heir is not None:
            heir.leads = True
            heir.woken.set()
        for writer in group:
            if writer is not leader:
                writer.woken.set()
