"""JSON that the short way reads is what the long way reads; all else is left to the long one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_engine.core.dagfile import JSON, reading
from dag_engine.core.dagfile.json_shortcut import read_easy_json
from dag_engine.core.dagfile.limits import MAX_CONTAINERS, MAX_DEPTH
from dag_engine.core.dagfile.reading import read_tree
from dag_engine.core.errors import DagFileError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner)
)
MARKS = '{}[]",:\\u0d8 \t\n1e.-+NaN\x00\x1f\u2028'


def read_the_long_way(text: str) -> tuple[Any, Any]:
    """Value and problems, without the short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "read_easy_json", lambda text: None)
        return read(text)


def read(text: str) -> tuple[Any, Any]:
    try:
        tree = read_tree(text.encode("utf-8", "surrogatepass"), JSON)
    except DagFileError as error:
        return None, error.problems
    return show(tree.value), tree.collector.finish()


def nest(depth: int) -> str:
    return '{"a": ' + "[" * depth + "1" + "]" * depth + "}"


def show(value: Any) -> str:
    """Tell 1 from 1.0 and True, and one order of keys from another."""
    return repr(value)


@given(values, st.booleans())
def test_both_ways_read_the_same(value: Any, is_ascii: bool) -> None:
    text = json.dumps({"dag": value}, ensure_ascii=is_ascii)
    assert read(text) == read_the_long_way(text)


@given(values, st.integers(0, 10_000), st.text(MARKS, max_size=3), st.integers(0, 3))
def test_both_ways_find_the_same_wrong(value: Any, place: int, mark: str, n_gone: int) -> None:
    whole = json.dumps({"dag": value})
    place %= len(whole) + 1
    text = whole[:place] + mark + whole[place + n_gone :]
    assert read(text) == read_the_long_way(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": {"b": 1, "b": 1}}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e400}',
        '{"a": 9223372036854775808}',
        '{"a": ' + "1" * 5000 + "}",
        '{"a": 0.' + "1" * 5000 + "}",
        '{"a": "\\u0000"}',
        '{"a": "\\ud800"}',
        '{"a": "\\\\u0000"}',
        '{"a": "\x01"}',
        "[1, 2]",
        '"text"',
        '{"a": 1} {"b": 2}',
        nest(MAX_DEPTH),
        nest(5000),
        '{"a": [' + ",".join(["[]"] * MAX_CONTAINERS) + "]}",
        "",
        "{",
    ],
    ids=range(20),
)
def test_what_may_be_wrong_is_read_the_long_way(text: str) -> None:
    assert read_easy_json(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"算子": "\\n\\u7b97", "b": [1, -0, 0.5, 1e3, null, true]}',
        ' \t\r\n{"a" : 9223372036854775807}\n',
        nest(MAX_DEPTH - 1),
    ],
)
def test_what_is_sound_is_read_the_short_way(text: str) -> None:
    easy = read_easy_json(text)
    assert easy is not None
    assert (show(easy), []) == read_the_long_way(text)


def test_places_are_worked_out_when_something_is_found_wrong() -> None:
    tree = read_tree(b'{"dag": {\n  "x": [1,\n   22]}}', JSON)
    tree.collector.add("code", "Something.", ("dag", "x", 1))
    tree.collector.add("code", "Something.", ("dag", "x"), is_key=True)
    found = [(problem.line, problem.column) for problem in tree.collector.problems]
    assert found == [(3, 4), (2, 3)]
