"""Lists in pieces: the cursor is the key of the last item, so that new rows shift nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dag_engine.storage.errors import InvalidCursorError
from dag_engine.storage.rows import Page, T

LIMIT = 50
MAX_LIMIT = 1000


def bounded(limit: int) -> int:
    """Keep the length of a page between 1 and 1000."""
    return max(1, min(limit, MAX_LIMIT))


def make_page(items: Sequence[T], limit: int, key: Callable[[T], object]) -> Page[T]:
    """Cut a page out of one item more than it may hold; that one tells whether there are more."""
    if len(items) <= limit:
        return Page(list(items))
    return Page(list(items[:limit]), str(key(items[limit - 1])))


def number_cursor(cursor: str | None, first: int = -1) -> int:
    """Read a cursor that is a number; without a cursor it is `first`."""
    if cursor is None:
        return first
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise InvalidCursorError(cursor)
    return int(cursor)


def id_cursor(cursor: str | None) -> str | None:
    """Check a cursor that is one of our ids."""
    if cursor is not None and not (cursor.isascii() and cursor.isalnum() and len(cursor) <= 20):
        raise InvalidCursorError(cursor)
    return cursor
