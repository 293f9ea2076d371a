"""How values and positions come out of the text."""

import json

import pytest
import yaml

from dag_engine.core.dagfile import JSON, YAML
from dag_engine.core.dagfile.positions import LineIndex
from dag_engine.core.dagfile.reading import read_tree
from dag_engine.core.dagfile.scalars import resolve_plain
from tests.support.dag_generator import chain_dag, fan_dag, front_end_dag, layered_dag


def read(text, media_type=YAML):
    return read_tree(text.encode(), media_type).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("0", 0),
        ("-17", -17),
        ("+3", 3),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b11", "0b11"),
        ("010", "010"),
        ("00", "00"),
        ("1_000", "1_000"),
        ("0.8", 0.8),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("1.0E-4", 0.0001),
        ("432.1111111111111", 432.1111111111111),
        ("1.2.3", "1.2.3"),
        ("12e", "12e"),
        ("e5", "e5"),
        (".", "."),
        ("-", "-"),
        ("+.e5", "+.e5"),
        ("190:20:30", "190:20:30"),
        ("2024-01-31", "2024-01-31"),
        ("2024-99-99", "2024-99-99"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("=", "="),
        ("١٢", "١٢"),
    ],
)
def test_a_plain_scalar_means_what_yaml_1_2_says_and_otherwise_text(text, value):
    result = resolve_plain(text)
    assert result == value
    assert type(result) is type(value)


def test_quoted_scalars_are_text():
    assert read("a: '1'\nb: \"true\"\nc: ''\nd: |\n  null\n") == {
        "a": "1",
        "b": "true",
        "c": "",
        "d": "null\n",
    }


def test_the_front_ends_file_means_what_the_safe_loader_reads(credit_default):
    assert read_tree(credit_default, YAML).value == yaml.safe_load(credit_default)


def test_generated_files_mean_what_the_safe_loader_reads():
    for text in (front_end_dag(14), chain_dag(3), fan_dag(4), layered_dag(3, 4)):
        assert read(text) == yaml.safe_load(text)


def test_json_and_yaml_give_the_same_value(credit_default):
    value = read_tree(credit_default, YAML).value
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert read(text, JSON) == value
        assert list(read(text, JSON)["dag"]) == list(value["dag"])


def test_json_escapes_and_numbers_are_read_as_the_standard_library_reads_them():
    text = r'{"a": "\ud83d\ude00\n\"\\\/\u00e9", "b": [1, -0, 1.5, 1E2, -1e-2], "c": {}, "d": []}'
    value = read(text, JSON)
    assert value == json.loads(text)
    assert [type(item) for item in value["b"]] == [int, int, float, float, float]


def find(text, path, media_type=YAML, *, is_key=False):
    positions = read_tree(text.encode(), media_type).collector._positions
    return positions.find(path, is_key=is_key)


YAML_TEXT = "a: 1\nb:\n  - x\n  - {c: 讀文件, d: [1, 2]}\n"


@pytest.mark.parametrize(
    ("path", "is_key", "place"),
    [
        ((), False, (1, 1)),
        (("a",), False, (1, 4)),
        (("a",), True, (1, 1)),
        (("b",), False, (3, 3)),
        (("b", 0), False, (3, 5)),
        (("b", 1, "c"), False, (4, 9)),
        (("b", 1, "d"), True, (4, 14)),
        (("b", 1, "d", 1), False, (4, 21)),
        (("b", 1, "e"), False, (4, 5)),
        (("b", 7), False, (3, 3)),
        (("z", "y"), False, (1, 1)),
    ],
)
def test_every_path_has_its_place(path, is_key, place):
    assert find(YAML_TEXT, path, is_key=is_key) == place


def test_a_member_after_a_dropped_one_keeps_its_place():
    text = "a: 1\na: {x: [1, 2]}\n1: 2\nb: 3\n"
    assert find(text, ("b",)) == (4, 4)
    assert find(text, ("a",)) == (1, 4)


def test_places_in_json():
    text = '{"a": 1,\r\n "b": [true,\r\n  {"讀": null}]}'
    assert find(text, ("a",), JSON) == (1, 7)
    assert find(text, ("b", 0), JSON) == (2, 8)
    assert find(text, ("b", 1, "讀"), JSON) == (3, 9)
    assert find(text, ("b", 1, "讀"), JSON, is_key=True) == (3, 4)


def test_a_large_mapping_is_found_by_key():
    text = "".join(f"k{i}: {i}\n" for i in range(500))
    assert find(text, ("k321",)) == (322, 7)


def test_a_line_break_cut_in_two_by_a_block_counts_once():
    for shift in (-2, -1, 0, 1):
        first = "x" * (64 * 1024 + shift)
        index = LineIndex(first + "\r\nab\r\nc")
        assert index.find(len(first)) == (1, len(first) + 1)
        assert index.find(len(first) + 3) == (2, 2)
        assert index.find(len(first) + 6) == (3, 1)


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_are_counted_over_many_blocks(line_break):
    lines = ["x" * (n % 97) for n in range(5000)]
    text = line_break.join(lines)
    index = LineIndex(text)
    offset = 0
    for number, line in enumerate(lines, start=1):
        assert index.find(offset) == (number, 1)
        assert index.find(offset + len(line)) == (number, len(line) + 1)
        offset += len(line) + len(line_break)
