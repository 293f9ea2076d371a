"""Looks former results up, beside the scheduler's loop: database and store may take their time.

A result is lent in three steps: what stands under the key is read, the run that made it is held on
to, so that the policy of retention leaves it, and then the artifacts are looked at. Whatever goes
wrong, the answer is that there is nothing: then the work is done.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from dag_engine.core.changes import Former
from dag_engine.storage import reuse as stored
from dag_engine.storage.database import Database
from dag_engine.storage.errors import StorageError
from executors.store import is_local

log = logging.getLogger(__name__)

KNOWN_LIMIT = 200_000
"""So many keys are held in memory at most; of more the database is asked each time."""
_KEY_DIGITS = 15
_REMOTE_LOOKS = 8
_REMEMBERED_HOLDS = 10_000


def shorten_key(key: str) -> int:
    """Keep what tells keys apart; where two are alike, one is asked for in vain."""
    return int(key[:_KEY_DIGITS], 16)


@dataclass(frozen=True, slots=True)
class Question:
    """What may stand in for a task: its keys, the one that is preferred first."""

    number: int
    run_id: str
    index: int
    namespace: str
    keys: tuple[str, ...]
    n_outputs: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What stands in; or what does not any more, and why. Neither: nothing was found."""

    number: int
    run_id: str
    index: int
    former: Former | None = None
    gone: Former | None = None
    detail: str = ""


@dataclass(slots=True)
class FormerFound:
    """The library answers; `known` are all keys that something stands under, shortened, told once.

    `reuse` is the number of whoever asked.
    """

    answers: list[Answer] = field(default_factory=list)
    known: set[int] | None = None
    reuse: int = 0


class Library(Protocol):
    """Where former results are looked up."""

    def ask(self, questions: list[Question]) -> None:
        """Take questions; they are answered by a `FormerFound` each, or a common one."""

    def close(self) -> None:
        """Answer no more."""


OpenLibrary = Callable[[Callable[[FormerFound], None]], Library]


class StoredLibrary:
    """The library over the database and the artifact store, in a thread of its own.

    Parameters
    ----------
    open_database : callable
        Opens the thread's own connection.
    store_url : str
        The artifact store.
    answer : callable
        Takes the answers; called from the thread.
    """

    def __init__(
        self,
        open_database: Callable[[], Database],
        store_url: str,
        answer: Callable[[FormerFound], None],
    ) -> None:
        self._open_database = open_database
        self._store_url = store_url
        self._answer = answer
        self._changed = threading.Condition()
        self._waiting: list[Question] = []
        self._is_closed = False
        self._held: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="library", daemon=True)
        self._thread.start()

    def ask(self, questions: list[Question]) -> None:
        """Take questions; all that have gathered are looked up together."""
        with self._changed:
            self._waiting += questions
            self._changed.notify()

    def close(self) -> None:
        """Answer no more; a look that is under way ends by itself."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _run(self) -> None:
        database = self._open_database()
        with contextlib.closing(database), ThreadPoolExecutor(_REMOTE_LOOKS) as remote:
            remote.submit(self._tell_known, database)
            for questions in self._gather():
                answers = self._look_up(database, questions, remote)
                if not self._is_closed:
                    self._answer(FormerFound(answers))

    def _gather(self) -> Iterator[list[Question]]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._waiting)
                if self._is_closed:
                    return
                questions, self._waiting = self._waiting, []
            yield questions

    def _tell_known(self, database: Database) -> None:
        try:
            known = stored.load_known_keys(database, KNOWN_LIMIT)
        except StorageError as error:
            log.info("known_keys_not_loaded detail=%s", error)
            return
        if known is not None and not self._is_closed:
            self._answer(FormerFound(known=set(map(shorten_key, known))))

    def _look_up(
        self, database: Database, questions: list[Question], remote: ThreadPoolExecutor
    ) -> list[Answer]:
        try:
            found = self._find(database, questions)
            look = map if is_local(self._store_url) else remote.map
            return list(look(self._judge, questions, found))
        except Exception as error:
            # Database, file system or driver: whoever asked must not wait for them.
            log.warning("former_results_not_found detail=%s", error, exc_info=True)
            return [Answer(one.number, one.run_id, one.index) for one in questions]

    def _find(self, database: Database, questions: list[Question]) -> list[Former | None]:
        """Find what stands under the keys and hold on to its run; in the order of the questions."""
        entries = stored.find_entries(
            database, [(one.namespace, key) for one in questions for key in one.keys]
        )
        found: list[Former | None] = []
        needs: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for one in questions:
            keys = ((one.namespace, key) for key in one.keys)
            former = next((entries[key] for key in keys if key in entries), None)
            found.append(former)
            if former is not None and former.run_id != one.run_id:
                needs[one.namespace].add((one.run_id, former.run_id))
        held = self._hold(database, needs)
        return [
            former
            if former and (former.run_id == one.run_id or (one.run_id, former.run_id) in held)
            else None
            for one, former in zip(questions, found, strict=True)
        ]

    def _hold(
        self, database: Database, needs: dict[str, set[tuple[str, str]]]
    ) -> set[tuple[str, str]]:
        """Hold on to runs for others; returns the pairs that hold, those of before too."""
        if len(self._held) > _REMEMBERED_HOLDS:
            self._held.clear()
        for namespace, pairs in needs.items():
            self._held |= stored.hold_sources(database, namespace, pairs - self._held)
        return self._held

    def _judge(self, question: Question, former: Former | None) -> Answer:
        answer = Answer(question.number, question.run_id, question.index)
        if former is None or len(former.outputs) != question.n_outputs:
            return answer
        if fault := stored.find_fault(former, self._store_url):
            return replace(answer, gone=former, detail=fault)
        return replace(answer, former=former)
