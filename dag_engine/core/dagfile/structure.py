"""Checks the shape of a DAG file and makes the typed views: keys, operators, edges, cycles.

Everything here can be said from the file alone; what needs the catalogue is in `checking`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from dag_engine.core.dagfile.characters import describe, find_invisible
from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import DagDocument, Operator, RunSection
from dag_engine.core.dagfile.edges import check_alternatives, check_cycles, read_edges
from dag_engine.core.dagfile.limits import (
    MAX_DESCRIPTION_CHARACTERS,
    MAX_EDGES,
    MAX_NAME_CHARACTERS,
    MAX_OPERATORS,
)
from dag_engine.core.dagfile.run_section import RunSectionReader
from dag_engine.core.errors import DagFileError
from dag_engine.core.nearest import NameFinder, hint_nearest
from dag_engine.core.problems import Path, shorten

DAG_KEYS = (
    "operator_list",
    "operator_rels",
    "operator_details",
    "params",
    "name",
    "description",
)
OPERATOR_KEYS = ("algo_name", "data_type", "type", "cn_name", "coordinate", "params", "run")

_OPERATOR_KEY_SET = frozenset(OPERATOR_KEYS)
_OPERATOR_ID = re.compile(r"\w[\w-]{0,127}").fullmatch
_ID_HINT = "An id is 1 to 128 letters, digits, '_' or '-', starts with no '-', and is in NFC."
_TITLES = {"data_type": "data_type", "type": "family", "cn_name": "title"}


def read_structure(
    value: dict[str, Any], collector: ProblemCollector, source: bytes, media_type: str
) -> DagDocument:
    """Make the document of a value; what is wrong goes to the collector, and only sound operators
    and edges become views.

    Raises `DagFileError` at once where there are too many operators or edges.
    """
    return _StructureReader(value, collector).read(source, media_type)


class _StructureReader:
    def __init__(self, value: dict[str, Any], collector: ProblemCollector) -> None:
        self._value = value
        self._collector = collector
        self._names = NameFinder()

    def read(self, source: bytes, media_type: str) -> DagDocument:
        self._check_keys(self._value, ("dag",), "the file", ())
        dag = self._take(self._value, "dag", dict, (), is_required=True)
        self._check_keys(dag, DAG_KEYS, "dag", ("dag",))
        listed = self._take(dag, "operator_list", list, ("dag",), is_required=True)
        details = self._take(dag, "operator_details", dict, ("dag",), is_required=True)
        relations = self._take(dag, "operator_rels", dict, ("dag",))
        self._check_size(listed, details, relations)
        numbers = self._read_list(listed, details)
        operators = self._read_operators(details, numbers)
        described = {name for name in details if name in numbers}
        edges = read_edges(relations, details, self._collector, self._names)
        document = DagDocument(
            value=self._value,
            operators=operators,
            edges=[e for e in edges if e.source in described and e.target in described],
            name=self._read_text(dag, "name", ("dag",), MAX_NAME_CHARACTERS, is_one_line=True),
            description=self._read_text(
                dag, "description", ("dag",), MAX_DESCRIPTION_CHARACTERS, is_one_line=False
            ),
            source=source,
            media_type=media_type,
            collector=self._collector,
        )
        check_cycles(details, edges, self._collector)
        check_alternatives(document, self._names)
        document.edges = [
            e for e in document.edges if e.source in operators and e.target in operators
        ]
        return document

    def _check_keys(self, value: Any, known: Collection[str], where: str, path: Path) -> None:
        unknown = [key for key in value if key not in known]
        for number, key in enumerate(unknown):
            if self._collector.is_full:
                self._collector.count(len(unknown) - number)
                return
            nearest = self._names.find(key, known)
            self._collector.add(
                "unknown_key",
                f"{where[:1].upper() + where[1:]} has no key {shorten(key)}.",
                (*path, key),
                operator=str(path[2]) if len(path) > 2 else None,
                hint=hint_nearest(nearest, f"Known are {', '.join(known)}."),
                is_key=True,
            )

    def _take(
        self, parent: dict[str, Any], key: str, kind: type, path: Path, *, is_required: bool = False
    ) -> Any:
        """Return the mapping or list below a key, an empty one where there is none that fits."""
        if key in parent:
            value = parent[key]
            if isinstance(value, kind):
                return value
            if value is not None or is_required:
                noun = "a mapping" if kind is dict else "a list"
                self._collector.add(
                    "wrong_type",
                    f"'{key}' must be {noun}, and is {shorten(value)}.",
                    (*path, key),
                    operator=str(path[2]) if len(path) > 2 else None,
                )
        elif is_required:
            where = f"'{path[-1]}'" if path else "The file"
            self._collector.add(
                "missing_key", f"{where} lacks the key '{key}'.", path, hint=f"Add '{key}'."
            )
        return kind()

    def _check_size(self, listed: list[Any], details: Any, relations: Any) -> None:
        n_operators = max(len(listed), len(details))
        n_edges = sum(len(edges) for edges in relations.values() if isinstance(edges, list))
        for code, key, count, limit in (
            ("too_many_operators", "operator_list", n_operators, MAX_OPERATORS),
            ("too_many_edges", "operator_rels", n_edges, MAX_EDGES),
        ):
            if count > limit:
                noun = code.rsplit("_", 1)[1]
                self._collector.add(
                    code,
                    f"The DAG has {count:,} {noun}; at most {limit:,} are allowed.",
                    ("dag", key),
                    hint="Split the DAG.",
                )
                raise DagFileError(self._collector.finish())

    def _read_list(self, listed: list[Any], details: dict[str, Any]) -> dict[str, int]:
        """Return the place of every operator that is listed and described."""
        numbers: dict[str, int] = {}
        seen: set[str] = set()
        for number, name in enumerate(listed):
            path = ("dag", "operator_list", number)
            if not isinstance(name, str):
                hint = "Put the id into double quotes."
                message = f"An operator's id must be text, and is {shorten(name)}."
                self._collector.add("wrong_type", message, path, hint=hint)
                continue
            if name in seen:
                message = f"The operator {shorten(name)} is listed twice."
                self._collector.add("operator_listed_twice", message, path, operator=name)
            elif name not in details:
                self._check_id(name, path)
                self._collector.add(
                    "operator_not_described",
                    f"The operator {shorten(name)} is listed but not described.",
                    path,
                    operator=name,
                    hint=hint_nearest(
                        self._names.find(name, details), "Describe it in operator_details."
                    ),
                )
            else:
                numbers[name] = number
            seen.add(name)
        dag = self._value.get("dag")
        if not listed and not details and isinstance(dag, dict) and "operator_list" in dag:
            message = "The DAG has no operators."
            hint = "List and describe at least one."
            self._collector.add("no_operators", message, ("dag", "operator_list"), hint=hint)
        return numbers

    def _read_operators(
        self, details: dict[str, Any], numbers: dict[str, int]
    ) -> dict[str, Operator]:
        operators = []
        for name, detail in details.items():
            path = ("dag", "operator_details", name)
            self._check_id(name, path)
            if name not in numbers:
                self._collector.add(
                    "operator_not_listed",
                    f"The operator {shorten(name)} is described but not listed.",
                    path,
                    operator=name,
                    hint="Add it to operator_list.",
                    is_key=True,
                )
            operator = self._read_operator(name, numbers.get(name, 0), detail, path)
            if operator is not None and name in numbers:
                operators.append(operator)
        operators.sort(key=lambda operator: operator.number)
        return {operator.id: operator for operator in operators}

    def _check_id(self, name: str, path: Path) -> None:
        if _OPERATOR_ID(name) and (name.isascii() or unicodedata.is_normalized("NFC", name)):
            return
        message = f"{shorten(name)} is no operator id."
        if len(name) > 128:
            message = f"The operator id {shorten(name, 30)} has {len(name):,} characters."
        self._collector.add(
            "bad_operator_id", message, path, operator=name[:200], hint=_ID_HINT, is_key=True
        )

    def _read_operator(self, name: str, number: int, detail: Any, path: Path) -> Operator | None:
        """Return the view of an operator, or None where its algorithm cannot be told."""
        if not isinstance(detail, dict):
            message = f"An operator must be described by a mapping, and is {shorten(detail)}."
            self._collector.add("wrong_type", message, path, operator=name)
            return None
        if not detail.keys() <= _OPERATOR_KEY_SET:
            self._check_keys(detail, OPERATOR_KEYS, "the operator", path)
        texts = {
            field: self._read_text(detail, key, path, MAX_NAME_CHARACTERS, is_one_line=True)
            for key, field in _TITLES.items()
        }
        params = self._take(detail, "params", dict, path)
        section = detail.get("run")
        run = RunSection()
        if section is not None:
            reader = RunSectionReader(self._collector, self._names, name)
            run = reader.read(section, (*path, "run"))
        algorithm = detail.get("algo_name")
        if not isinstance(algorithm, str) or not algorithm:
            self._add_missing_algorithm(name, detail, path)
            return None
        return Operator(
            id=name,
            number=number,
            algorithm=algorithm,
            data_type=texts["data_type"] or None,
            family=texts["family"],
            title=texts["title"],
            params=params,
            run=run,
        )

    def _add_missing_algorithm(self, name: str, detail: dict[str, Any], path: Path) -> None:
        hint = "Name the algorithm that the operator runs."
        if "algo_name" in detail:
            message = f"'algo_name' must be a name, and is {shorten(detail['algo_name'])}."
            at = (*path, "algo_name")
            self._collector.add("wrong_type", message, at, operator=name, hint=hint)
        else:
            message = f"The operator {shorten(name)} lacks the key 'algo_name'."
            self._collector.add("missing_key", message, path, operator=name, hint=hint, is_key=True)

    def _read_text(
        self, parent: dict[str, Any], key: str, path: Path, limit: int, *, is_one_line: bool
    ) -> str:
        value = parent.get(key)
        if value is None:
            return ""
        at = (*path, key)
        operator = str(path[2]) if len(path) > 2 else None
        if not isinstance(value, str):
            message = f"'{key}' must be text, and is {shorten(value)}."
            hint = "Put it into double quotes."
            self._collector.add("wrong_type", message, at, operator=operator, hint=hint)
            return ""
        if len(value) > limit:
            message = f"'{key}' has {len(value):,} characters; at most {limit:,} are allowed."
            self._collector.add("too_long", message, at, operator=operator)
            return value[:limit]
        if not value.isprintable():
            text = value if is_one_line else re.sub("[\t\r\n]", "", value)
            character = find_invisible(text)
            if character is not None:
                message = f"'{key}' holds the invisible character {describe(character)}."
                hint = "Remove the character."
                self._collector.add("bad_character", message, at, operator=operator, hint=hint)
        return value
