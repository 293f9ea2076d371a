"""Memories that forget their oldest entries."""

from __future__ import annotations


class RecentIds:
    """The last `limit` ids that were added, oldest first.

    Examples
    --------
    >>> recent = RecentIds(2)
    >>> for item in "abc":
    ...     recent.add(item)
    >>> "a" in recent, list(recent.newest(5))
    (False, ['b', 'c'])
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}

    def add(self, item: str) -> None:
        """Remember one id, as the newest."""
        self._ids.pop(item, None)
        self._ids[item] = None
        if len(self._ids) > self._limit:
            del self._ids[next(iter(self._ids))]

    def discard(self, item: str) -> None:
        """Forget one id."""
        self._ids.pop(item, None)

    def newest(self, limit: int) -> list[str]:
        """Return the newest ids, oldest first."""
        return list(self._ids)[-limit:]

    def __contains__(self, item: str) -> bool:
        return item in self._ids

    def __len__(self) -> int:
        return len(self._ids)
