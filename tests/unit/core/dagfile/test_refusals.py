"""Everything that a DAG file may not hold, each with its code, line and column."""

import pytest

from dag_engine.core.dagfile import JSON, YAML, DagFileError, accept_dag
from tests.support.example_catalogue import make_catalogue, make_offer

BODY = """\
dag:
  operator_list: [a, b]
  operator_rels:
    a: [{target: b, source_index: 0, target_index: 0}]
  operator_details:
    a:
      algo_name: algo_local_read_file
      data_type: 本地python
      params: {data_id: 40}
    b:
      algo_name: algo_local_split_data
      params:
        split_type: 1
"""


def refuse(source, media_type=YAML, **around):
    data = source if isinstance(source, bytes) else source.encode()
    around = {"dataset_ids": {"40"}, "queues": {"default", "fast"}} | around
    with pytest.raises(DagFileError) as caught:
        accept_dag(data, media_type, make_catalogue(), **around)
    return caught.value


def tell(error):
    return [(problem.code, problem.line, problem.column) for problem in error.problems]


def change(old, new, body=BODY):
    assert old in body
    return body.replace(old, new, 1)


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


STRUCTURE = {
    "no dag": ("name: x\n", "missing_key", 1, 1),
    "an unknown key of the file": (BODY + "dags: {}\n", "unknown_key", 14, 1),
    "an unknown key of dag": (change("operator_rels:", "operator_rel:"), "unknown_key", 3, 3),
    "no list": (change("  operator_list: [a, b]\n", ""), "missing_key", 2, 3),
    "a list that is none": (change("[a, b]", "{a: 1}"), "wrong_type", 2, 18),
    "an empty dag": (
        "dag: {operator_list: [], operator_details: {}}",
        "no_operators",
        1,
        22,
    ),
    "an unknown key of an operator": (change("algo_name", "algoname"), "unknown_key", 7, 7),
    "an operator without algorithm": (
        change("      algo_name: algo_local_split_data\n", ""),
        "missing_key",
        10,
        5,
    ),
    "an algorithm that is a number": (
        change("algo_local_split_data", "17"),
        "wrong_type",
        11,
        18,
    ),
    "a description that is text": (
        change("    b:\n      algo_name: algo_local_split_data\n", "    b: x\n    c:\n"),
        "wrong_type",
        10,
        8,
    ),
    "parameters that are a list": (
        change("{data_id: 40}", "[1]"),
        "wrong_type",
        9,
        15,
    ),
    "a title that is a number": (change("本地python", "7"), "wrong_type", 8, 18),
    "a title too long": (change("本地python", "x" * 256), "too_long", 8, 18),
    "an operator listed and not described": (
        change("[a, b]", "[a, b, c]"),
        "operator_not_described",
        2,
        25,
    ),
    "an operator described and not listed": (
        change("[a, b]", "[a]"),
        "operator_not_listed",
        10,
        5,
    ),
    "an operator listed twice": (change("[a, b]", "[a, b, a]"), "operator_listed_twice", 2, 25),
    "an id that is a number": (change("[a, b]", "[a, b, 3]"), "wrong_type", 2, 25),
    "an id with a space": (
        change("[a, b]", '[a, b, "c d"]'),
        "bad_operator_id",
        2,
        25,
    ),
    "an id with a space at its end": (
        change("[a, b]", '[a, b, "b "]'),
        "bad_operator_id",
        2,
        25,
    ),
    "an id that starts with a hyphen": (
        change("[a, b]", '[a, b, "-c"]'),
        "bad_operator_id",
        2,
        25,
    ),
    "an id of 300 letters": (change("[a, b]", f"[a, b, {'c' * 300}]"), "bad_operator_id", 2, 25),
    "an emoji as id": (change("[a, b]", "[a, b, 😀]"), "bad_operator_id", 2, 25),
    "an id that is not in NFC": (
        change("[a, b]", "[a, b, \u212b]"),
        "bad_operator_id",
        2,
        25,
    ),
    "an invisible id": (change("[a, b]", '[a, b, "c\\u200b"]'), "bad_operator_id", 2, 25),
    "an edge from nowhere": (change("a: [{", "c: [{"), "edge_from_nowhere", 4, 5),
    "an edge to nowhere": (change("target: b", "target: c"), "edge_to_nowhere", 4, 18),
    "an edge without target": (change("target: b, ", ""), "missing_key", 4, 9),
    "an edge with an unknown key": (
        change("source_index", "sourceindex"),
        "unknown_key",
        4,
        21,
    ),
    "an edge that is text": (
        change("{target: b, source_index: 0, target_index: 0}", "b"),
        "wrong_type",
        4,
        9,
    ),
    "edges that are a mapping": (
        change("[{target: b, source_index: 0, target_index: 0}]", "{target: b}"),
        "wrong_type",
        4,
        8,
    ),
    "an edge twice": (
        change("target_index: 0}", "target_index: 0}, {target: b}"),
        "edge_twice",
        4,
        56,
    ),
    "an edge onto itself": (change("target: b", "target: a"), "cycle", 4, 9),
    "a cycle": (
        change("0}]\n", "0}]\n    b: [{target: a}]\n"),
        "cycle",
        5,
        9,
    ),
    "a negative port": (change("source_index: 0", "source_index: -1"), "bad_port", 4, 35),
    "a port beyond 64 bits": (
        change("source_index: 0", f"source_index: {2**63}"),
        "int_out_of_range",
        4,
        35,
    ),
    "a boolean as port": (change("source_index: 0", "source_index: true"), "wrong_type", 4, 35),
    "a port that the source has not": (
        change("source_index: 0", "source_index: 99"),
        "bad_port",
        4,
        35,
    ),
    "a port that the target has not": (
        change("target_index: 0", "target_index: 1"),
        "bad_port",
        4,
        52,
    ),
    "a port without its edge": (
        change("    a: [{target: b, source_index: 0, target_index: 0}]\n", "    a: []\n"),
        "port_unconnected",
        10,
        5,
    ),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), STRUCTURE.values(), ids=STRUCTURE)
def test_a_dag_of_another_shape_is_refused(source, code, line, column):
    error = refuse(source)
    assert (code, line, column) in tell(error)
    assert error.http_status == 422


def with_run(section):
    return change(
        "      params: {data_id: 40}\n",
        "      run:\n        " + section + "\n      params: {data_id: 40}\n",
    )


RUN = {
    "an unknown key": (with_run("retrys: 1"), "unknown_key", 10, 9),
    "a section that is text": (
        change("      params: {", "      run: fast\n      params: {"),
        "wrong_type",
        9,
        12,
    ),
    "too many retries": (with_run("retries: 1000000000000"), "out_of_range", 10, 18),
    "retries below zero": (with_run("retries: -1"), "out_of_range", 10, 18),
    "retries that are no integer": (with_run("retries: 1.5"), "wrong_type", 10, 18),
    "retries that are a boolean": (with_run("retries: true"), "wrong_type", 10, 18),
    "a delay below zero": (with_run("retry_delay_s: -0.1"), "out_of_range", 10, 24),
    "a timeout of zero": (with_run("timeout_s: 0"), "out_of_range", 10, 20),
    "a timeout that is text": (with_run("timeout_s: 10s"), "wrong_type", 10, 20),
    "a priority too high": (with_run("priority: 101"), "out_of_range", 10, 19),
    "an unknown reason": (with_run("retry_on: [lost, tired]"), "unknown_value", 10, 26),
    "reasons that are a word": (with_run("retry_on: lost"), "wrong_type", 10, 19),
    "an unknown use of the cache": (with_run("cache: never"), "unknown_value", 10, 16),
    "an unknown resource": (with_run("resources: {memory: 1}"), "unknown_key", 10, 21),
    "resources that are a number": (with_run("resources: 1"), "wrong_type", 10, 20),
    "no cpu at all": (with_run("resources: {cpu: 0}"), "out_of_range", 10, 26),
    "memory of a fraction": (with_run("resources: {memory_mb: 0.5}"), "wrong_type", 10, 32),
    "a label that is a number": (with_run("labels: {zone: 1}"), "wrong_type", 10, 24),
    "labels that are a list": (with_run("labels: [zone]"), "wrong_type", 10, 17),
    "an unknown queue": (with_run("queue: fasst"), "unknown_queue", 10, 16),
    "an executor never offered": (with_run("executor: rai"), "unknown_executor", 10, 19),
    "an alternative that is no operator": (
        with_run("on_failure: c"),
        "bad_alternative",
        10,
        21,
    ),
    "an alternative that is itself": (with_run("on_failure: a"), "bad_alternative", 10, 21),
    "an alternative that depends on it": (with_run("on_failure: b"), "bad_alternative", 10, 21),
    "an on_failure that is a number": (with_run("on_failure: 1"), "wrong_type", 10, 21),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), RUN.values(), ids=RUN)
def test_a_run_section_that_cannot_be_meant_is_refused(source, code, line, column):
    error = refuse(source)
    assert (code, line, column) in tell(error)
    assert {problem.operator for problem in error.problems} == {"a"}


CATALOGUE = {
    "an unknown algorithm": (
        change("algo_local_split_data", "algo_local_split"),
        "unknown_algorithm",
        11,
        18,
    ),
    "a module as algorithm": (
        change("algo_local_split_data", "os.system"),
        "unknown_algorithm",
        11,
        18,
    ),
    "a label that means no executor": (
        change("本地python", "本地phyton"),
        "unknown_executor",
        8,
        18,
    ),
    "an unknown data set": (change("data_id: 40", "data_id: 41"), "unknown_dataset", 9, 25),
    "an unknown parameter": (
        change("split_type: 1", "splittype: 1"),
        "unknown_parameter",
        13,
        9,
    ),
    "a missing parameter": (change("{data_id: 40}", "{}"), "missing_parameter", 9, 15),
    "missing parameters": (
        change("      params: {data_id: 40}\n", ""),
        "missing_parameter",
        7,
        7,
    ),
    "a number as text": (change("split_type: 1", 'ext1: "0.5"'), "bad_parameter", 13, 15),
    "a boolean as number": (change("split_type: 1", "ext1: true"), "bad_parameter", 13, 15),
    "a word that is not offered": (
        change("split_type: 1", "split_type: 4"),
        "bad_parameter",
        13,
        21,
    ),
    "a number out of its bounds": (change("split_type: 1", "ext1: 1.0"), "bad_parameter", 13, 15),
}


@pytest.mark.parametrize(("source", "code", "line", "column"), CATALOGUE.values(), ids=CATALOGUE)
def test_what_the_catalogue_does_not_offer_is_refused(source, code, line, column):
    error = refuse(source)
    assert (code, line, column) in tell(error)


def test_two_edges_into_a_single_port_are_refused_naming_both_sources():
    source = change("[a, b]", "[a, b, c]").replace(
        "    b:\n", "    c: {algo_name: algo_local_read_file, params: {data_id: 40}}\n    b:\n"
    )
    source = source.replace("0}]\n", "0}]\n    c: [{target: b}]\n")
    (problem,) = refuse(source).problems
    assert (problem.code, problem.line, problem.column) == ("port_taken", 5, 9)
    assert (problem.operator, problem.port) == ("b", 0)
    assert "'a'" in problem.message
    assert "'c'" in problem.message


def test_port_types_that_do_not_fit_are_refused_naming_both_ends():
    catalogue = make_catalogue(
        make_offer(
            "report_maker",
            outputs=[make_catalogue().algorithms["algo_local_model_2c_eval"].outputs[0]],
        )
    )
    source = change("algo_local_read_file", "report_maker").replace("{data_id: 40}", "{}")
    with pytest.raises(DagFileError) as caught:
        accept_dag(source.encode(), YAML, catalogue)
    (problem,) = caught.value.problems
    assert (problem.code, problem.line, problem.column) == ("port_type_mismatch", 4, 9)
    assert problem.message == ("Output 0 of 'a' is a report, and input 0 of 'b' takes table.")


def test_all_problems_are_told_at_once_in_the_order_of_the_text():
    source = """\
dag:
  operator_list: [a, b, a]
  operator_rels:
    a: [{target: nowhere}]
  operator_detail: {}
  operator_details:
    a: {algo_name: algo_local_read_fil, data_type: mars, run: {retries: -1}}
    b: {algo_name: algo_local_split_data, params: {ext1: !!str 0.5, ext2: .inf, split_type: x}}
"""
    assert tell(refuse(source)) == [
        ("operator_listed_twice", 2, 25),
        ("edge_to_nowhere", 4, 18),
        ("unknown_key", 5, 3),
        ("unknown_algorithm", 7, 20),
        ("unknown_executor", 7, 52),
        ("out_of_range", 7, 73),
        ("port_unconnected", 8, 5),
        ("yaml_tag_forbidden", 8, 58),
        ("not_finite", 8, 75),
        ("bad_parameter", 8, 93),
    ]


def test_what_could_not_be_read_is_not_told_twice():
    source = change("data_id: 40", "data_id: .nan")
    assert tell(refuse(source)) == [("not_finite", 9, 25)]


def test_misspelt_names_are_answered_with_the_nearest():
    source = change("operator_rels", "operator_rel").replace("algo_local_split_data", "local_split")
    hints = {problem.code: problem.hint for problem in refuse(source).problems}
    assert hints["unknown_key"].startswith("Did you mean 'operator_rels'")
    assert hints["unknown_algorithm"].startswith("Did you mean 'algo_local_split_data'")


def test_pointers_are_json_pointers_with_their_escapes():
    source = change("split_type: 1", '"a/b~c": 1')
    (problem,) = refuse(source).problems
    assert problem.pointer == "/dag/operator_details/b/params/a~1b~0c"


def test_a_cycle_is_named_by_its_operators():
    names = [f"n{i}" for i in range(6)]
    rels = [f"    n{i}: [{{target: n{(i + 1) % 6}}}]" for i in range(6)]
    # The way n2 → n4 makes a shorter cycle of five.
    rels[2] = "    n2: [{target: n3}, {target: n4}]"
    details = [f"    {name}: {{algo_name: noop}}" for name in names]
    source = "\n".join(
        [
            "dag:",
            f"  operator_list: [{', '.join(names)}]",
            "  operator_rels:",
            *rels,
            "  operator_details:",
            *details,
        ]
    )
    (problem,) = refuse(source).problems
    assert problem.code == "cycle"
    assert problem.message == "The operators form a cycle: n0 → n1 → n2 → n4 → n5 → n0."


def test_beyond_a_thousand_problems_the_rest_are_counted():
    names = [f"n{i}" for i in range(1500)]
    details = "".join(f"    {name}: {{algo_name: nonesuch}}\n" for name in names)
    source = f"dag:\n  operator_list: [{', '.join(names)}]\n  operator_details:\n{details}"
    problems = refuse(source).problems
    assert len(problems) == 1001
    assert problems[-1].code == "more_problems"
    assert "500" in problems[-1].message


def test_too_many_operators_and_edges_are_refused():
    names = [f"n{i}" for i in range(10_001)]
    details = "".join(f"    {name}: {{algo_name: noop}}\n" for name in names)
    source = f"dag:\n  operator_list: [{', '.join(names)}]\n  operator_details:\n{details}"
    assert [p.code for p in refuse(source).problems] == ["too_many_operators"]
    edges = ", ".join(["{target: b}"] * 100_001)
    source = change("{target: b, source_index: 0, target_index: 0}", edges)
    assert [p.code for p in refuse(source).problems] == ["too_many_edges"]
