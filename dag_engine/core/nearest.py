"""Which known names a misspelt one may have meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher

_MAX_NAME_CHARACTERS = 200
_MIN_RATIO = 0.6
_OVERHEAD = 200


class NameFinder:
    """Finds the nearest names.

    Comparing takes time with the product of the lengths, so one finder spends at most `budget`
    pairs of characters and finds nothing afterwards.
    """

    def __init__(self, budget: int = 4_000_000) -> None:
        self._budget = budget
        self._found: dict[tuple[str, int], list[str]] = {}

    def find(self, name: str, known: Collection[str], limit: int = 3) -> list[str]:
        """Return up to `limit` known names, nearest first."""
        key = (name, id(known))
        if key not in self._found:
            self._found[key] = self._compare(name, known)
        return self._found[key][:limit]

    def _compare(self, name: str, known: Iterable[str]) -> list[str]:
        if len(name) > _MAX_NAME_CHARACTERS or not name:
            return []
        matcher = SequenceMatcher(a="", b=name.casefold(), autojunk=False)
        scored: list[tuple[float, str]] = []
        for candidate in known:
            if self._budget <= 0:
                break
            self._budget -= len(name) * min(len(candidate), _MAX_NAME_CHARACTERS) + _OVERHEAD
            matcher.set_seq1(candidate[:_MAX_NAME_CHARACTERS].casefold())
            if matcher.real_quick_ratio() >= _MIN_RATIO and matcher.quick_ratio() >= _MIN_RATIO:
                ratio = matcher.ratio()
                if ratio >= _MIN_RATIO:
                    scored.append((ratio, candidate))
        scored.sort(key=lambda pair: (-pair[0], pair[1]))
        return [candidate for _, candidate in scored]


def hint_nearest(names: Iterable[str], otherwise: str = "") -> str:
    """Ask in a sentence whether one of the names was meant.

    >>> hint_nearest(["split", "splice"])
    "Did you mean 'split' or 'splice'?"
    """
    quoted = [f"'{name}'" for name in names]
    return f"Did you mean {' or '.join(quoted)}?" if quoted else otherwise
