"""What another does between two statements of a piece of work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from dag_engine.storage.database import Database

_HEAD_START_S = 0.5


@contextmanager
def meanwhile(database: Database, words: str, act: Callable[[], object]) -> Iterator[None]:
    """Have another thread act once, right behind the first statement that has these words in it;
    it is over before the work goes on, unless the work holds it back.
    """
    others: list[threading.Thread] = []

    def interleave(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if words in statement and not others:
            others.append(threading.Thread(target=act))
            others[0].start()
            others[0].join(_HEAD_START_S)

    sa.event.listen(database.engine, "after_cursor_execute", interleave)
    try:
        yield
    finally:
        sa.event.remove(database.engine, "after_cursor_execute", interleave)
    assert others, f"no statement has the words {words!r}"
    others[0].join(20)
    assert not others[0].is_alive()
