"""What is said of parameters that do not fit their schema."""

import pytest

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.parameters import check_params
from dag_engine.core.dagfile.schemas import DATASET, compile_schema, find_references
from dag_engine.core.nearest import NameFinder
from tests.support.example_catalogue import make_offer

# As pydantic writes it.
SCHEMA = {
    "$defs": {
        "Rule": {
            "properties": {"column": {"type": "string"}, "share": {"type": "number", "maximum": 1}},
            "required": ["column"],
            "type": "object",
        }
    },
    "additionalProperties": False,
    "properties": {
        "depth": {
            "anyOf": [{"minimum": 1, "type": "integer"}, {"type": "null"}],
            "title": "Depth at most",
            "title_zh": "最大深度",
        },
        "loss": {"enum": ["log_loss", "exponential"], "type": "string"},
        "features": {
            "anyOf": [
                {"minimum": 1, "type": "integer"},
                {"enum": ["sqrt", "log2"], "type": "string"},
            ]
        },
        "rules": {"items": {"$ref": "#/$defs/Rule"}, "type": "array", "maxItems": 2},
        "weights": {
            "anyOf": [
                {"additionalProperties": {"type": "number"}, "type": "object"},
                {"type": "null"},
            ]
        },
        "target": {"type": "string", "title": "Target", "pattern": "^[a-z]+$"},
    },
    "required": ["target"],
}


def check(params, schema=SCHEMA, deprecated=()):
    collector = ProblemCollector()
    offer = make_offer("fit", params_schema=schema, deprecated_params=list(deprecated))
    checked = check_params("op", params, offer, ("params",), collector, NameFinder())
    return checked, collector.finish()


@pytest.mark.parametrize(
    ("params", "pointer", "message"),
    [
        ({"depth": 0}, "depth", "'depth' must be at least 1, and is 0"),
        ({"depth": "5"}, "depth", "'depth' must be an integer or null, and is '5'"),
        ({"depth": True}, "depth", "'depth' must be an integer or null, and is true"),
        ({"depth": 2.5}, "depth", "'depth' must be an integer or null, and is 2.5"),
        ({"loss": "x"}, "loss", "'loss' must be 'log_loss' or 'exponential', and is 'x'"),
        ({"features": 0}, "features", "'features' must be at least 1, and is 0"),
        ({"features": "all"}, "features", "'features' must be 'sqrt' or 'log2', and is 'all'"),
        ({"features": []}, "features", "and is a list of 0"),
        ({"rules": {}}, "rules", "'rules' must be a list, and is a mapping of 0"),
        ({"rules": [{}]}, "rules/0", "'column' is missing in '0'"),
        (
            {"rules": [{"column": "a", "share": 1.5}]},
            "rules/0/share",
            "'rules.0.share' must be at most 1, and is 1.5",
        ),
        ({"weights": {"a": "b"}}, "weights/a", "'weights.a' must be a number, and is 'b'"),
        ({"rules": [{"column": "a"}] * 3}, "rules", "does not fit"),
        ({"target": "A1"}, "target", "does not fit"),
    ],
)
def test_the_sentence_says_what_was_expected_and_what_came(params, pointer, message):
    _, (problem,) = check({"target": "t"} | params)
    assert problem.pointer == f"/params/{pointer}"
    assert message in problem.message


def test_all_parameters_that_do_not_fit_are_told():
    _, problems = check({"depth": 0, "loss": 1, "unknown": 2})
    assert sorted((p.code, p.pointer) for p in problems) == [
        ("bad_parameter", "/params/depth"),
        ("bad_parameter", "/params/loss"),
        ("missing_parameter", "/params"),
        ("unknown_parameter", "/params/unknown"),
    ]


def test_the_hint_carries_the_authors_words():
    _, (problem,) = check({"target": "t", "depth": 0})
    assert problem.hint == "Depth at most / 最大深度."
    _, (problem,) = check({})
    assert problem.hint == "Add it. Target."


def test_deprecated_parameters_are_taken_though_no_schema_declares_them():
    params = {"target": "t", "presort": "auto"}
    checked, problems = check(params, deprecated=["presort"])
    assert problems == []
    assert checked == params


def test_a_schema_that_is_open_takes_any_name():
    for schema in (SCHEMA | {"additionalProperties": True}, {"patternProperties": {"^x": {}}}):
        _, problems = check({"target": "t", "xyz": 1}, schema)
        assert problems == []


def test_a_schema_that_says_nothing_of_other_names_is_closed():
    closed = {key: value for key, value in SCHEMA.items() if key != "additionalProperties"}
    _, (problem,) = check({"target": "t", "dept": 1}, closed)
    assert problem.code == "unknown_parameter"
    assert problem.hint == "Did you mean 'depth'?"


def test_very_large_parameters_tell_their_first_error_only():
    rules = [{"column": 7}] * 5_000
    _, (problem,) = check({"target": "t", "rules": rules})
    assert problem.code == "bad_parameter"


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "https://example.org/x"}, {"$ref": "#/$defs/none"}]
)
def test_an_unsound_schema_is_the_algorithms_fault(schema):
    _, (problem,) = check({"target": "t"}, schema)
    assert problem.code == "bad_schema"
    assert "'fit'" in problem.message


def test_data_sets_are_found_wherever_the_schema_puts_them():
    schema = {
        "$defs": {
            "Source": {
                "properties": {
                    "id": {
                        "anyOf": [{"type": "integer"}, {"type": "string", "format": "dataset-id"}]
                    },
                    "inner": {"$ref": "#/$defs/Source"},
                }
            }
        },
        "properties": {
            "one": {"allOf": [{"format": "dataset-id"}]},
            "many": {"items": {"$ref": "#/$defs/Source"}},
            "named": {"additionalProperties": {"format": "dataset-id"}},
            "other": {"type": "string"},
        },
    }
    params = {
        "one": 40,
        "many": [{"id": "a"}, {"id": 7, "inner": {"id": "b"}}, {"id": True}, 3],
        "named": {"x": "c", "y": None},
        "other": "d",
    }
    assert dict(find_references(compile_schema(schema), DATASET, params)) == {
        ("one",): "40",
        ("many", 0, "id"): "a",
        ("many", 1, "id"): "7",
        ("many", 1, "inner", "id"): "b",
        ("named", "x"): "c",
    }


def test_equal_schemas_are_compiled_once():
    assert compile_schema({"a": {}, "b": {}}) is compile_schema({"b": {}, "a": {}})
