"""Files that are made to bring a parser down: none may crash it, slow it, or raise other errors."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dag_engine.core.dagfile import JSON, YAML, DagDocument, DagFileError, accept_dag
from tests.support.dag_generator import front_end_dag, plain_dag
from tests.support.example_catalogue import make_catalogue

MEGABYTE = 1024 * 1024
CATALOGUE = make_catalogue()

# Each takes less than 2 s on a machine of its own; other processes share this one.
BOUND_S = 8.0


def accept(data, media_type):
    try:
        return accept_dag(data, media_type, CATALOGUE, dataset_ids={"40"})
    except DagFileError as error:
        return error


def ring(n):
    names = [f"o{i}" for i in range(n)]
    return plain_dag(names, [(names[i], names[(i + 1) % n]) for i in range(n)])


def fail_everywhere(n):
    names = [f"o{i}" for i in range(n)]
    lines = ["dag:", f" operator_list: [{','.join(names)}]", " operator_details:"]
    lines += [
        f"  {n}: {{algo_name: nooop, data_type: lokal, x: 1, run: {{retrys: 1}}}}" for n in names
    ]
    lines += [" operator_rels:"]
    lines += [
        f"  {n}: [{{target: {n}x}}, {{target: {n}}}, {{target: o1, source_index: 9}}]"
        for n in names
    ]
    return "\n".join(lines)


def alike(n):
    names = ["x" * 120 + str(i) for i in range(n)]
    return plain_dag(names, [(name, "x" + name) for name in names])


def lines_of(make, n):
    return "\n".join(make(i) for i in range(n))


HOSTILE = {
    "open brackets": ("[" * 100_000, YAML),
    "ten megabytes of open brackets": ("[" * 10 * MEGABYTE, YAML),
    "ten megabytes of open braces": ("{a: " * (5 * MEGABYTE // 2), YAML),
    "ten megabytes of dashes": ("- " * 5 * MEGABYTE, YAML),
    "ten megabytes of question marks": ("? " * 5 * MEGABYTE, YAML),
    "ten megabytes of flow": ("[" + "a," * 5 * MEGABYTE, YAML),
    "ten megabytes of small mappings": ("[" + "{}," * 3 * MEGABYTE, YAML),
    "ten megabytes of small lists": ("[" + "[{}]," * 2 * MEGABYTE, YAML),
    "ten megabytes of items": ("-\n" * 5 * MEGABYTE, YAML),
    "ten megabytes of line breaks": ("a:" + "\r" * 10 * MEGABYTE + "[", YAML),
    "ten megabytes of anchors": ("&a " * 3 * MEGABYTE, YAML),
    "ten megabytes of tags": ("[" + "!!str a," * MEGABYTE, YAML),
    "ten megabytes of documents": ("---\n" * 2 * MEGABYTE, YAML),
    "ten megabytes of text": ("a: " + "b c " * 2 * MEGABYTE, YAML),
    "ten megabytes of folded text": ("a:" + "\n b" * 3 * MEGABYTE, YAML),
    "unlike keys": (lines_of(lambda i: f"k{i}: v{i}", 700_000), YAML),
    "unlike keys of the dag": ("dag:\n" + lines_of(lambda i: f" k{i}: v{i}", 600_000), YAML),
    "a hexadecimal number": ("a: 0x" + "f" * 10 * MEGABYTE, YAML),
    "a decimal number": ("a: " + "9" * 10 * MEGABYTE, YAML),
    "a float": ("a: 0." + "9" * 10 * MEGABYTE, YAML),
    "an exponent": ("a: 1e" + "9" * 10 * MEGABYTE, YAML),
    "base sixty": ("a: 1" + ":59" * 3 * MEGABYTE, YAML),
    "a long key": ("a" * 10 * MEGABYTE + ": 1", YAML),
    "laughs": (
        "a0: &a0 [x, x]\n" + lines_of(lambda i: f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]", 60),
        YAML,
    ),
    "merges": (
        "a0: &a0 {x: 1}\n" + lines_of(lambda i: f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}", 60),
        YAML,
    ),
    "JSON brackets": ("[" * 10 * MEGABYTE, JSON),
    "JSON mappings": ('{"a":' * 2 * MEGABYTE, JSON),
    "JSON lists": ("[" + "[]," * 3 * MEGABYTE, JSON),
    "JSON numbers": ("[" + "1," * 5 * MEGABYTE, JSON),
    "JSON number": ('{"a": ' + "9" * 10 * MEGABYTE + "}", JSON),
    "JSON float": ('{"a": 0.' + "9" * 10 * MEGABYTE + "}", JSON),
    "JSON surrogates": ('{"a": "' + r"\ud800" * MEGABYTE + '"}', JSON),
    "JSON keys": ("{" + ",".join(f'"{i}a":"{i}b"' for i in range(700_000)) + "}", JSON),
    "a cycle of all operators": (ring(10_000), YAML),
    "problems everywhere": (fail_everywhere(10_000), YAML),
    "long names that are alike": (alike(5_000), YAML),
    "wrong parameters everywhere": (
        front_end_dag(10_000).replace("y_col: next_month", "y_col: 3"),
        YAML,
    ),
    "duplicate keys everywhere": (
        front_end_dag(10_000).replace("    y_col: next", "    y_col: a\n    y_col: next"),
        YAML,
    ),
    "a million wrong items": (
        "dag: {operator_list: [a], operator_details: {a: {algo_name: algo_local_model_predict, "
        "params: {x_cols: [" + "1," * MEGABYTE + "1]}}}}",
        YAML,
    ),
    "unknown parameters": (
        "dag:\n operator_list: [a]\n operator_details:\n  a:\n   algo_name: noop\n   params:\n"
        + lines_of(lambda i: f"    k{i}: 1", 250_000),
        YAML,
    ),
}


@pytest.mark.parametrize(("text", "media_type"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_quickly(text, media_type):
    start = time.process_time()
    error = accept(text.encode(), media_type)
    assert isinstance(error, DagFileError)
    assert error.problems
    assert time.process_time() - start < BOUND_S


@given(st.binary(max_size=200), st.sampled_from([YAML, JSON]))
@example(b"\xff\xfe", YAML)
@example(b"- - - &a *a", YAML)
@example(b"? ? a\n: {", YAML)
@example(b"{a: 1, a: 2, *b : 3, [c]: 4, ? : 5}", YAML)
@example(b"%YAML 9.9\n---\n", YAML)
@example(b'{"":{"":[{"":1,"":', JSON)
def test_arbitrary_bytes_are_refused_or_read(data, media_type):
    assert isinstance(accept(data, media_type), DagDocument | DagFileError)


PIECES = [
    "dag",
    "operator_list",
    "operator_rels",
    "operator_details",
    "params",
    "run",
    "algo_name",
    "target",
    "source_index",
    "on_failure",
    "resources",
    "labels",
    "retry_on",
    "noop",
    "a",
    "b",
    ":",
    "-",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    '"',
    "&x",
    "*x",
    "!t",
    "<<",
    "1",
    "-1",
    "0.5",
    ".nan",
    "null",
    "~",
    "true",
    "#",
    "|",
    ">",
    "?",
    "---",
    "...",
    "%",
    "\\u0000",
    "讀",
    ": ",
    "- ",
    "\n",
    "\n ",
    "\n  ",
    "\t",
    "\r\n",
    "\x00",
    "\ufeff",
    "\u2028",
]
words = st.sampled_from(PIECES)


@given(st.lists(words, max_size=60).map("".join), st.sampled_from([YAML, JSON]))
def test_arbitrary_pieces_of_dag_files_are_refused_or_read(text, media_type):
    assert isinstance(accept(text.encode(), media_type), DagDocument | DagFileError)


@given(st.data())
def test_a_damaged_file_is_refused_or_read(credit_default, data):
    start = data.draw(st.integers(0, len(credit_default)))
    length = data.draw(st.integers(0, 40))
    piece = data.draw(st.binary(max_size=8) | words.map(str.encode))
    damaged = credit_default[:start] + piece + credit_default[start + length :]
    assert isinstance(accept(damaged, YAML), DagDocument | DagFileError)


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.text(max_size=3)
    | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "operator_list": st.lists(st.sampled_from(["a", "b", "c", 1]), max_size=4) | anything,
            "operator_rels": st.dictionaries(st.sampled_from(["a", "b"]), anything) | anything,
            "operator_details": st.dictionaries(
                st.sampled_from(["a", "b"]),
                st.fixed_dictionaries(
                    {"algo_name": st.just("noop") | anything},
                    optional={"run": anything, "params": anything, "cn_name": anything},
                ),
            )
            | anything,
            "name": anything,
        },
    )
)
def test_a_dag_of_any_shape_is_refused_or_read(dag):
    accepted = accept(json.dumps({"dag": dag}).encode(), JSON)
    assert isinstance(accepted, DagDocument | DagFileError)
