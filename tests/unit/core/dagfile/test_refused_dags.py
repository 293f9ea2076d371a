"""DAGs that are well written and still wrong, each with code, line and column."""

import pytest

from dag_engine.core.dagfile import YAML, DagFileError, accept_dag
from tests.support.example_catalogue import make_catalogue, make_offer
from tests.support.refusals import BODY, change, refuse, tell

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


def test_a_data_set_is_asked_for_once():
    asked = []
    source = change("algo_local_split_data", "algo_local_read_file").replace(
        "split_type: 1", "data_id: 40"
    )
    accepted = source.replace(
        "    a: [{target: b, source_index: 0, target_index: 0}]\n", "    a:\n"
    )
    accept_dag(
        accepted.encode(),
        YAML,
        make_catalogue(),
        dataset_ids=lambda name: asked.append(name) or True,
    )
    assert asked == ["40"]
