"""Checks the `run` section of an operator and turns it into its typed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import RunSection
from dag_engine.core.nearest import NameFinder, hint_nearest
from dag_engine.core.problems import Path, shorten
from executors.base import FailureReason

RETRY_REASONS: tuple[str, ...] = get_args(FailureReason)
CACHE_WORDS = ("use", "refresh", "off")
_FAILURE_WORDS = ("stop", "continue")
_YEAR_S = 366 * 86_400

RunRule = Callable[["RunSectionReader", Any, Path], Any]


class RunSectionReader:
    """Reads the `run` section of one operator; problems go to the collector."""

    def __init__(self, collector: ProblemCollector, names: NameFinder, operator: str) -> None:
        self._collector = collector
        self._names = names
        self._operator = operator

    def read(self, section: Any, path: Path) -> RunSection:
        """Return what is sound of the section; absent keys and null mean the default."""
        if section is None:
            return RunSection()
        if not isinstance(section, dict):
            self._add("wrong_type", "'run' must be a mapping", section, path)
            return RunSection()
        fields: dict[str, Any] = {}
        for key, value in section.items():
            rule = _RULES.get(key)
            if rule is None:
                self.add_unknown_key(key, _RULES, "run", (*path, key))
            elif value is not None:
                fields |= rule(self, key, value, (*path, key))
        return RunSection(**fields)

    def add_unknown_key(self, key: str, known: Any, where: str, path: Path) -> None:
        """Report a key that nobody knows, with the nearest that is known."""
        self._collector.add(
            "unknown_key",
            f"'{where}' has no key {shorten(key)}.",
            path,
            operator=self._operator,
            hint=hint_nearest(self._names.find(key, known), f"Known are {', '.join(known)}."),
            is_key=True,
        )

    def _add(self, code: str, expected: str, value: Any, path: Path, hint: str = "") -> None:
        message = f"{expected}, and is {shorten(value)}."
        self._collector.add(code, message, path, operator=self._operator, hint=hint)

    def read_number(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take a number between the limits of its key."""
        kind, low, high = _NUMBERS[key]
        noun = "an integer" if kind is int else "a number"
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (kind is int and not isinstance(value, int)):
            self._add("wrong_type", f"'{key}' must be {noun}", value, path)
            return {}
        is_above_low = value > low if key in _ABOVE else value >= low
        if not is_above_low or value > high:
            bound = "above" if key in _ABOVE else "from"
            self._add(
                "out_of_range", f"'{key}' must be {noun} {bound} {low:,} to {high:,}", value, path
            )
            return {}
        return {key: value}

    def read_name(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take a name that is looked up later."""
        if not isinstance(value, str) or not value:
            self._add("wrong_type", f"'{key}' must be a name", value, path)
            return {}
        return {key: value}

    def read_cache(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take one of the words of `cache`."""
        return {key: value} if self._is_word(key, value, CACHE_WORDS, path) else {}

    def read_retry_on(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take the reasons for which a failure is tried again."""
        if not isinstance(value, list):
            self._add("wrong_type", f"'{key}' must be a list of reasons", value, path)
            return {}
        sound = [
            item
            for number, item in enumerate(value)
            if self._is_word(key, item, RETRY_REASONS, (*path, number))
        ]
        return {key: sound}

    def read_resources(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take cpu, memory and gpu."""
        if not isinstance(value, dict):
            self._add("wrong_type", f"'{key}' must be a mapping", value, path)
            return {}
        fields: dict[str, Any] = {}
        for name, amount in value.items():
            if name not in _RESOURCES:
                self.add_unknown_key(name, _RESOURCES, "resources", (*path, name))
            elif amount is not None:
                fields |= self.read_number(name, amount, (*path, name))
        return fields

    def read_labels(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take labels: names and values are text."""
        if not isinstance(value, dict):
            self._add("wrong_type", f"'{key}' must be a mapping of names to text", value, path)
            return {}
        for name, text in value.items():
            if not isinstance(text, str):
                hint = "Put the value into double quotes."
                self._add("wrong_type", "A label must be text", text, (*path, name), hint)
        return {key: {name: text for name, text in value.items() if isinstance(text, str)}}

    def read_on_failure(self, key: str, value: Any, path: Path) -> dict[str, Any]:
        """Take `stop`, `continue`, or the id of an alternative operator."""
        if not isinstance(value, str) or not value:
            self._add(
                "wrong_type",
                f"'{key}' must be stop, continue or the id of an operator",
                value,
                path,
            )
            return {}
        return {key: value} if value in _FAILURE_WORDS else {"alternative": value}

    def _is_word(self, key: str, value: Any, words: tuple[str, ...], path: Path) -> bool:
        if isinstance(value, str) and value in words:
            return True
        nearest = self._names.find(value, words) if isinstance(value, str) else []
        known = f"Known are {', '.join(words)}."
        self._collector.add(
            "unknown_value",
            f"'{key}' knows no {shorten(value)}.",
            path,
            operator=self._operator,
            hint=hint_nearest(nearest, known),
        )
        return False


_NUMBERS: dict[str, tuple[type, int, int]] = {
    "retries": (int, 0, 100),
    "retry_delay_s": (float, 0, 86_400),
    "timeout_s": (float, 0, _YEAR_S),
    "priority": (int, -100, 100),
    "cpu": (float, 0, 10_000),
    "memory_mb": (int, 1, 2**31 - 1),
    "gpu": (float, 0, 10_000),
}
_ABOVE = frozenset({"timeout_s", "cpu"})
_RESOURCES = ("cpu", "memory_mb", "gpu")
_RULES: dict[str, Callable[[RunSectionReader, str, Any, Path], dict[str, Any]]] = {
    "executor": RunSectionReader.read_name,
    "retries": RunSectionReader.read_number,
    "retry_delay_s": RunSectionReader.read_number,
    "retry_on": RunSectionReader.read_retry_on,
    "timeout_s": RunSectionReader.read_number,
    "cache": RunSectionReader.read_cache,
    "resources": RunSectionReader.read_resources,
    "labels": RunSectionReader.read_labels,
    "priority": RunSectionReader.read_number,
    "queue": RunSectionReader.read_name,
    "on_failure": RunSectionReader.read_on_failure,
}
