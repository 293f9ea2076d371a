"""Files that are no single document of plain data, each with code, line and column."""

import pytest

from dag_engine.core.dagfile import JSON, YAML, accept_dag
from tests.support.example_catalogue import make_catalogue
from tests.support.refusals import BODY, change, refuse, tell


def test_the_body_that_the_cases_change_is_sound():
    document = accept_dag(
        BODY.encode(), YAML, make_catalogue(), dataset_ids={"40"}, queues={"default"}
    )
    assert list(document.operators) == ["a", "b"]


UNREADABLE = {
    "a tag": (change("data_id: 40", "data_id: !!str 40"), "yaml_tag_forbidden", 9, 25),
    "a python tag": (
        change("data_id: 40", "data_id: !!python/object/apply:os.system [ls]"),
        "yaml_tag_forbidden",
        9,
        25,
    ),
    "a tag on a key": (change("data_id: 40", "!!str data_id: 40"), "yaml_tag_forbidden", 9, 16),
    "a tag directive": ("%TAG ! tag:a,2000:\n---\n" + BODY, "yaml_tag_forbidden", 1, 1),
    "an anchor": (change("data_id: 40", "data_id: &x 40"), "yaml_alias_forbidden", 9, 25),
    "an anchor on a list": (change("[a, b]", "&x [a, b]"), "yaml_alias_forbidden", 2, 18),
    "an alias": (
        change("split_type: 1", "split_type: *x"),
        "yaml_alias_forbidden",
        13,
        21,
    ),
    "a list that holds itself": (change("[a, b]", "&x [*x]"), "yaml_alias_forbidden", 2, 18),
    "a merge key": (
        change("split_type: 1", "<<: {split_type: 1}"),
        "yaml_merge_forbidden",
        13,
        9,
    ),
    "a duplicate key": (
        change("split_type: 1", "split_type: 1\n        split_type: 2"),
        "duplicate_key",
        14,
        9,
    ),
    "two documents": (BODY + "---\n" + BODY, "several_documents", 14, 1),
    "nothing": ("", "empty_file", 1, 1),
    "only a comment": ("# nothing\n", "empty_file", 1, 1),
    "an explicit nothing": ("--- null\n", "empty_file", 1, 1),
    "a list": ("- dag\n", "not_a_mapping", 1, 1),
    "a word": ("dag\n", "not_a_mapping", 1, 1),
    "a tab as indentation": ("dag:\n\tname: x\n", "yaml_syntax", 2, 1),
    "an open bracket": ("dag: [a, b\n", "yaml_syntax", 2, 1),
    "a byte order mark": (b"\xef\xbb\xbf" + BODY.encode(), "bad_encoding", 1, 1),
    "UTF-16": (BODY.encode("utf-16"), "bad_encoding", 1, 1),
    "a byte that is no UTF-8": (b"dag:\n  name: \xff\n", "bad_encoding", 2, 9),
    "too many bytes": (b"#" * (16 * 1024 * 1024 + 1), "too_large", 1, 1),
    "nesting in brackets": ("a: " + "[" * 100_000, "too_deep", 1, 67),
    "nesting by dashes": ("- " * 100, "too_deep", 1, 129),
    "nesting by indentation": (
        "\n".join(" " * depth + "a:" for depth in range(100)),
        "too_deep",
        65,
        65,
    ),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_single_document_of_plain_data_is_refused(source, code, line, column):
    error = refuse(source)
    assert (code, line, column) in tell(error)
    assert error.http_status == (413 if code == "too_large" else 400)


VALUES = {
    "a null key": (change("split_type: 1", "~: 1"), "key_not_string", 13, 9),
    "a number as key": (change("split_type: 1", "1: 1"), "key_not_string", 13, 9),
    "a boolean as key": (change("split_type: 1", "true: 1"), "key_not_string", 13, 9),
    "a list as key": (change("split_type: 1", "[a]: 1"), "key_not_string", 13, 9),
    "a mapping as key": (change("split_type: 1", "{a: 1}: {b: 2}"), "key_not_string", 13, 9),
    "not a number": (change("split_type: 1", "ext1: .nan"), "not_finite", 13, 15),
    "infinity": (change("split_type: 1", "ext1: -.inf"), "not_finite", 13, 15),
    "a float too large": (change("split_type: 1", "ext1: 1e999"), "not_finite", 13, 15),
    "an integer of 65 bits": (
        change("split_type: 1", f"ext2: {2**63}"),
        "int_out_of_range",
        13,
        15,
    ),
    "a negative integer of 65 bits": (
        change("split_type: 1", f"ext2: {-(2**63) - 1}"),
        "int_out_of_range",
        13,
        15,
    ),
    "a hexadecimal integer of a megabyte": (
        change("split_type: 1", "ext2: 0x" + "f" * 1_000_000),
        "int_out_of_range",
        13,
        15,
    ),
    "an integer of 5,000 digits": (
        change("split_type: 1", "ext2: " + "7" * 5_000),
        "int_out_of_range",
        13,
        15,
    ),
    "a float of a megabyte": (
        change("split_type: 1", "ext1: 0." + "7" * 1_000_000),
        "number_too_long",
        13,
        15,
    ),
    "an escaped NUL": (change("split_type: 1", r'ext2: "a\0b"'), "bad_character", 13, 15),
    "an escaped NUL in a key": (change("split_type: 1", r'"a\0b": 1'), "bad_character", 13, 9),
    "a lone surrogate": (change("split_type: 1", r'ext2: "\ud800"'), "bad_character", 13, 18),
    "a raw NUL": (change("split_type: 1", "ext2: a\0b"), "bad_character", 13, 16),
    "a raw control character": (
        change("split_type: 1", "ext2: é\x07b"),
        "bad_character",
        13,
        16,
    ),
    "a reversing character in a title": (
        change("params: {", 'cn_name: "a\\u202eb"\n      params: {'),
        "bad_character",
        9,
        16,
    ),
    "a zero-width character in the name": (
        change("dag:\n", "dag:\n  name: a\u200bb\n"),
        "bad_character",
        2,
        9,
    ),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), VALUES.values(), ids=VALUES)
def test_a_value_that_cannot_be_kept_is_refused(source, code, line, column):
    error = refuse(source)
    assert (code, line, column) in tell(error)
    assert error.http_status == 422


JSON_BODY = (
    '{"dag": {"operator_list": ["a"],\n'
    ' "operator_details": {"a": {"algo_name": "algo_local_read_file",\n'
    '  "params": {"data_id": "40"}}}}}'
)

JSON_CASES = {
    "NaN": (change('"40"', "NaN", JSON_BODY), "not_finite", 3, 25),
    "minus infinity": (change('"40"', "-Infinity", JSON_BODY), "not_finite", 3, 25),
    "a float too large": (change('"40"', "1e999", JSON_BODY), "not_finite", 3, 25),
    "an integer of 65 bits": (change('"40"', str(2**63), JSON_BODY), "int_out_of_range", 3, 25),
    "a duplicate key": (
        change('"data_id": "40"', '"data_id": "40", "data_id": "41"', JSON_BODY),
        "duplicate_key",
        3,
        31,
    ),
    "a lone surrogate": (change('"40"', r'"\ud800"', JSON_BODY), "bad_character", 3, 25),
    "an escaped NUL": (change('"40"', r'"\u0000"', JSON_BODY), "bad_character", 3, 25),
    "a raw control character": (change('"40"', '"4\x010"', JSON_BODY), "bad_character", 3, 27),
    "deep nesting": ('{"dag": ' + "[" * 100_000, "too_deep", 1, 72),
    "deep nesting of mappings": ('{"a":' * 20_000, "too_deep", 1, 321),
    "nothing": ("   \n", "empty_file", 1, 1),
    "null": ("null", "empty_file", 1, 1),
    "a list": ("[]", "not_a_mapping", 1, 1),
    "two documents": (JSON_BODY + "{}", "json_syntax", 3, 34),
    "a comma too many": ('{"dag": {},\n}', "json_syntax", 2, 1),
    "a missing colon": ('{"dag" {}}', "json_syntax", 1, 8),
    "a bare word": ('{"dag": yes}', "json_syntax", 1, 9),
    "a bare key": ("{dag: {}}", "json_syntax", 1, 2),
    "a leading zero": ('{"dag": 01}', "json_syntax", 1, 9),
    "an open string": ('{"dag": "x', "json_syntax", 1, 9),
    "a bad escape": (r'{"dag": "\q"}', "json_syntax", 1, 10),
    "an open mapping": ('{"dag": {}', "json_syntax", 1, 11),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), JSON_CASES.values(), ids=JSON_CASES)
def test_json_has_the_same_limits(source, code, line, column):
    assert (code, line, column) in tell(refuse(source, JSON))
