"""From bytes to a tree of plain values with positions, or to the problems that forbid it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.json_reader import read_json
from dag_engine.core.dagfile.json_shortcut import read_easy_json
from dag_engine.core.dagfile.limits import MAX_FILE_BYTES
from dag_engine.core.dagfile.positions import LatePositions, Positions
from dag_engine.core.dagfile.tree import TreeBuilder, TreeProblem, UnreadableError
from dag_engine.core.dagfile.yaml_reader import read_yaml
from dag_engine.core.errors import DagFileError
from dag_engine.core.problems import MAX_PROBLEMS, Problem, make_pointer

YAML = "application/yaml"
JSON = "application/json"

_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "a UTF-8 byte order mark",
    b"\xff\xfe": "a UTF-16 byte order mark",
    b"\xfe\xff": "a UTF-16 byte order mark",
}
_ENCODING_HINT = "Save the file as UTF-8 without a byte order mark."


@dataclass(slots=True)
class Tree:
    """The value of a document, and the collector that holds what is wrong with it so far."""

    value: Any
    collector: ProblemCollector


def read_tree(data: bytes, media_type: str) -> Tree:
    """Read a document; raise `DagFileError` where it cannot be read to its end."""
    text = _decode(data)
    if media_type == JSON and (easy := read_easy_json(text)) is not None:
        places = LatePositions(lambda: _find_places(text, _build(text, media_type)))
        return Tree(easy, ProblemCollector(places))
    builder = _build(text, media_type)
    if not builder.roots or builder.roots[0] is None:
        raise _refuse("empty_file", "The file holds nothing.", "Post a mapping with the key 'dag'.")
    root = builder.roots[0]
    collector = ProblemCollector(_find_places(text, builder))
    collector.problems += _locate(builder, text)
    for problem in builder.problems:
        collector.mask(problem.path)
    if not isinstance(root, dict):
        kind = "a list" if isinstance(root, list) else "a single value"
        hint = "Post a mapping with the key 'dag'."
        collector.add("not_a_mapping", f"The file must be a mapping, and is {kind}.", (), hint=hint)
        raise DagFileError(collector.finish())
    return Tree(root, collector)


def _build(text: str, media_type: str) -> TreeBuilder:
    builder = TreeBuilder()
    read = read_json if media_type == JSON else read_yaml
    try:
        read(text, builder)
    except UnreadableError:
        raise DagFileError(_locate(builder, text)) from None
    return builder


def _find_places(text: str, builder: TreeBuilder) -> Positions:
    return Positions(text, builder.roots[0], builder.root_offsets[0], builder.marks)


def _decode(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise _refuse(
            "too_large",
            f"The file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are allowed.",
            "Split the DAG, or keep large values in a dataset.",
        )
    for mark, name in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise _refuse("bad_encoding", f"The file starts with {name}.", _ENCODING_HINT)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        start = data.rfind(b"\n", 0, error.start) + 1
        column = len(data[start : error.start].decode("utf-8", errors="replace")) + 1
        message = f"The byte 0x{data[error.start]:02X} is no UTF-8."
        raise _refuse("bad_encoding", message, _ENCODING_HINT, line, column) from None
    if not text or text.isspace():
        raise _refuse("empty_file", "The file holds nothing.", "Post a mapping with the key 'dag'.")
    return text


def _refuse(code: str, message: str, hint: str, line: int = 1, column: int = 1) -> DagFileError:
    return DagFileError([Problem(code=code, message=message, line=line, column=column, hint=hint)])


def _locate(builder: TreeBuilder, text: str) -> list[Problem]:
    found = builder.problems
    places = Positions(text, None, 0, {})
    problems = [_make_problem(problem, places) for problem in found[:MAX_PROBLEMS]]
    if len(found) > MAX_PROBLEMS:
        message = "There are more problems; the rest of the file was not read."
        problems.append(Problem(code="more_problems", message=message))
    return problems


def _make_problem(problem: TreeProblem, places: Positions) -> Problem:
    line, column = places.line_and_column(problem.offset)
    path = problem.path
    is_of_operator = len(path) > 2 and path[:2] == ("dag", "operator_details")
    return Problem(
        code=problem.code,
        message=problem.message,
        operator=str(path[2]) if is_of_operator else None,
        pointer=make_pointer(path),
        line=line,
        column=column,
        hint=problem.hint,
    )
