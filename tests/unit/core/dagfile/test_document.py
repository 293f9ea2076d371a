"""Typed views, digest, and the way back to text."""

import json
import random

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dag_engine.core.dagfile import JSON, YAML, check_dag, find_dataset_ids, read_dag
from dag_engine.core.dagfile.reading import read_tree
from dag_engine.core.dagfile.rendering import render_json, render_yaml
from tests.support.dag_generator import front_end_dag
from tests.support.example_catalogue import make_catalogue

READ = "algo_local_read_file_45_1517360824080"
SPLIT = "algo_local_split_data_45_1517360836712"
GBDT = "algo_local_model_gbdt_111_1517801573063"
PREDICT = "algo_local_model_predict_45_1517362016532"

SMALL = """\
dag:
  operator_list: [a]
  operator_details:
    a: {algo_name: noop, params: {}}
"""


def test_the_front_ends_file_is_read_and_fits_its_catalogue(credit_default):
    document = read_dag(credit_default, YAML)
    assert check_dag(document, make_catalogue(), dataset_ids={"40"}) == []
    assert list(document.operators) == document.value["dag"]["operator_list"]
    gbdt = document.operators[GBDT]
    assert (gbdt.algorithm, gbdt.title, gbdt.data_type) == (
        "algo_local_model_gbdt",
        "GBDT",
        "本地python",
    )
    assert gbdt.params["max_depth"] == 5
    into_predict = [(e.source, e.source_port, e.target_port) for e in document.edges_into[PREDICT]]
    assert into_predict == [
        (GBDT, 0, 0),
        ("algo_local_model_2c_l_45_1517362008544", 0, 1),
    ]


def test_the_source_is_kept_byte_for_byte(credit_default):
    document = read_dag(credit_default, YAML)
    assert document.source == credit_default
    assert document.media_type == YAML


def test_data_sets_are_found_by_the_schemas_format(credit_default):
    document = read_dag(credit_default, YAML)
    assert find_dataset_ids(document, make_catalogue()) == {"40"}
    overrides = {READ: {"data_id": "other"}}
    assert find_dataset_ids(document, make_catalogue(), overrides) == {"other"}


def test_the_run_section_is_read_with_its_types():
    source = SMALL.replace(
        "params: {}",
        "run: {executor: local, retries: 2, retry_delay_s: 5, retry_on: [lost, out_of_memory], "
        "timeout_s: 600, cache: refresh, resources: {cpu: 0.5, memory_mb: 2048, gpu: 0}, "
        "labels: {zone: a}, priority: -3, queue: fast, on_failure: continue}",
    )
    run = read_dag(source.encode(), YAML).operators["a"].run
    assert (run.executor, run.retries, run.retry_delay_s, run.timeout_s) == ("local", 2, 5, 600)
    assert run.retry_on == ["lost", "out_of_memory"]
    assert (run.cache, run.cpu, run.memory_mb, run.gpu) == ("refresh", 0.5, 2048, 0)
    assert (run.labels, run.priority, run.queue) == ({"zone": "a"}, -3, "fast")
    assert (run.on_failure, run.alternative) == ("continue", None)


def test_name_and_description_are_optional():
    assert read_dag(SMALL.encode(), YAML).name == ""
    named = read_dag(
        (SMALL + "  name: 信用\n  description: |\n    two\n    lines\n").encode(), YAML
    )
    assert (named.name, named.description) == ("信用", "two\nlines\n")


def shuffle(value, source):
    if isinstance(value, dict):
        keys = list(value)
        source.shuffle(keys)
        return {key: shuffle(value[key], source) for key in keys}
    if isinstance(value, list):
        return [shuffle(item, source) for item in value]
    return value


def test_the_digest_does_not_depend_on_the_way_of_writing(credit_default):
    digest = read_dag(credit_default, YAML).digest
    value = yaml.safe_load(credit_default)
    for data, media_type in (
        (b"# a comment\n" + credit_default, YAML),
        (yaml.safe_dump(value).encode(), YAML),
        (json.dumps(value, indent=3).encode(), JSON),
        (json.dumps(shuffle(value, random.Random(3))).encode(), JSON),
    ):
        assert read_dag(data, media_type).digest == digest


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"scale: 0.9", b"scale: 0.8"),
        (b"x: 137", b"x: 138"),
        (b"x: 137", b"x: 137.0"),
        (b"data_id: 40", b"data_id: '40'"),
        (b"translate: [41,-20]", b"translate: [-20,41]"),
        (b"    presort: auto\n", b""),
    ],
)
def test_the_digest_depends_on_every_value(credit_default, old, new):
    assert old in credit_default
    changed = read_dag(credit_default.replace(old, new, 1), YAML)
    assert changed.digest != read_dag(credit_default, YAML).digest


def list_items(value):
    """List a value with the order of its keys."""
    if isinstance(value, dict):
        return [(key, list_items(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [list_items(item) for item in value]
    return (type(value).__name__, value)


def test_both_renderings_hold_the_same_keys_in_the_same_order(credit_default):
    for source in (credit_default, front_end_dag(13).encode()):
        document = read_dag(source, YAML)
        for text, media_type in ((document.to_yaml(), YAML), (document.to_json(), JSON)):
            again = read_dag(text.encode(), media_type)
            assert list_items(again.value) == list_items(document.value)
            assert again.digest == document.digest


def test_chinese_text_stays_chinese(credit_default):
    document = read_dag(credit_default, YAML)
    assert "讀文件" in document.to_yaml()
    assert "讀文件" in document.to_json()
    assert "cn_name: 讀文件" in document.to_yaml()


AWKWARD = [
    "no",
    "~",
    "null",
    "1",
    "010",
    "1e5",
    "0x1",
    "-",
    "#",
    "<<",
    "=",
    "!",
    "&a",
    "*a",
    "|",
    ">",
    "%",
    "@",
    "`",
    "'",
    '"',
    "?",
    "---",
    "...",
    "True",
    "y",
    "a,b",
    "12:30:45",
    "2024-01-31",
    ".inf",
    ".nan",
    "{a}",
    "[a]",
    "\ufeff",
    "\x85",
    "- a",
    "a: b",
    "a #b",
    "\n",
    " a",
    "a ",
    "\t",
    "\u2028",
    "x" * 2000,
    "? a",
]
texts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(AWKWARD)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_any_plain_value_survives_being_written_and_read(value):
    for text, media_type in ((render_yaml(value), YAML), (render_json(value), JSON)):
        tree = read_tree(text.encode(), media_type)
        assert not tree.collector.problems
        assert list_items(tree.value) == list_items(value)


@given(st.dictionaries(texts, values, max_size=4))
def test_other_readers_of_yaml_read_the_same_value(value):
    try:
        read = yaml.safe_load(render_yaml(value))
    except yaml.constructor.ConstructorError:
        # '=' and '<<' are special to releases before 1.2 even where they are quoted as keys.
        read = value
    assert read == value


@given(st.dictionaries(texts, values, min_size=1, max_size=3), st.randoms())
def test_parameters_survive_a_round_trip_through_a_document(params, source):
    value = {
        "dag": {
            "operator_list": ["a"],
            "operator_details": {"a": {"algo_name": "noop", "params": params}},
            "params": {"translate": [1, 2.5]},
        }
    }
    document = read_dag(json.dumps(value).encode(), JSON)
    again = read_dag(document.to_yaml().encode(), YAML)
    assert list_items(again.value) == list_items(value)
    shuffled = json.dumps(shuffle(value, source)).encode()
    assert read_dag(shuffled, JSON).digest == again.digest
