import random

import pytest

from dag_engine.core import planning
from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile import YAML, SealedNames, accept_dag
from dag_engine.core.dagfile.checking import check_document
from dag_engine.core.errors import PlanRefusedError
from dag_engine.core.plan import RunDefaults
from dag_engine.core.planning import Selection, draft_plan
from tests.support.example_catalogue import make_catalogue
from tests.support.planned_pipeline import FORTY, PIPELINE, by_name, changed, plan, prints, refuse


def test_overridden_parameters_take_effect():
    draft = plan(PIPELINE, params={"b": {"ext1": 0.5, "ext2": 7}})
    assert by_name(draft)["b"].params == {"ext1": 0.5, "ext2": 7}
    before = prints()
    after = {task.operator: task.fingerprint for task in draft.tasks}
    assert changed(before, after) == set("blgpe")
    outside = plan(PIPELINE, "only", ["l"], params={"b": {"ext1": 0.5, "ext2": 7}})
    assert outside.needed == {"b": after["b"]}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"b": {"ext1": "0.5"}}, [("bad_parameter", "/params/b/ext1")]),
        ({"b": {"ext": 0.5}}, [("unknown_parameter", "/params/b/ext")]),
        ({"c": {"ext1": 0.5}}, [("unknown_operator", "/params/c")]),
        ({"b": 1}, [("wrong_type", "/params/b")]),
        ({"b": {"ext1": float("nan")}}, [("not_finite", "/params/b/ext1")]),
        ({"b": {"ext2": 2**63}}, [("int_out_of_range", "/params/b/ext2")]),
        ({"b": {"ext2": "\0"}}, [("bad_character", "/params/b/ext2")]),
        ({"b": {"ext2": {1: 2}}}, [("key_not_string", "/params/b/ext2")]),
        ({"b": {"ext2": object()}}, [("wrong_type", "/params/b/ext2")]),
        ({"a": {"data_id": 41}}, [("unknown_dataset", "/params/a/data_id")]),
        (
            {"a": {"data_id": None}, "l": {"C": 0}},
            [("bad_parameter", "/params/a/data_id"), ("bad_parameter", "/params/l/C")],
        ),
    ],
)
def test_overrides_are_checked_like_the_file(params, expected):
    assert refuse(PIPELINE, params=params) == expected


def test_deep_overrides_are_refused():
    deep = []
    for _ in range(5_000):
        deep = [deep]
    ((code, _),) = refuse(PIPELINE, params={"b": {"ext2": deep}})
    assert code == "too_deep"


@pytest.mark.parametrize(
    ("word", "operators", "expected"),
    [
        ("from", ["z"], [("unknown_operator", "/operators/0")]),
        ("only", ["a", "q", "r"], [("unknown_operator", f"/operators/{i}") for i in (1, 2)]),
        ("to", [], [("missing_operators", "/operators")]),
        ("all", ["a"], [("unexpected_operators", "/operators")]),
        ("some", [], [("unknown_value", "/range")]),
    ],
)
def test_a_range_that_cannot_be_meant_is_refused(word, operators, expected):
    assert refuse(PIPELINE, word, operators) == expected


def test_what_is_no_longer_offered_is_refused_where_the_range_depends_on_it():
    catalogue = make_catalogue()
    del catalogue.algorithms["algo_local_model_gbdt"]
    pointer = "/dag/operator_details/g/algo_name"
    assert refuse(PIPELINE, "only", ["e"], catalogue=catalogue) == [("unknown_algorithm", pointer)]
    assert [t.operator for t in plan(PIPELINE, "to", ["l"], catalogue=catalogue).tasks] == [
        "a",
        "b",
        "l",
    ]


def test_nothing_is_offered_by_an_empty_catalogue():
    assert ("unknown_algorithm", "/dag/operator_details/a/algo_name") in refuse(
        PIPELINE, catalogue=Catalogue()
    )


class TestWhatWasJustAccepted:
    """A document is checked once where nothing has changed between its acceptance and the plan."""

    NAMES = SealedNames(connections=(), secrets=())

    @pytest.fixture
    def checks(self, monkeypatch):
        done = []

        def check(document, *args):
            done.append(len(document.operators))
            return check_document(document, *args)

        monkeypatch.setattr(planning, "check_document", check)
        return done

    def plan(self, *, catalogue=None, range_="all", operators=(), **options):
        accepted_with = make_catalogue()
        document = accept_dag(
            PIPELINE.encode(), YAML, accepted_with, dataset_ids={"40"}, sealed=self.NAMES
        )
        return draft_plan(
            document,
            catalogue or accepted_with,
            **{
                "defaults": RunDefaults(),
                "datasets": {"40": FORTY},
                "seeds": random.Random(1),
                "selection": Selection(range_, operators),
                "sealed": self.NAMES,
            }
            | options,
        )

    def test_it_is_planned_as_it_was_checked(self, checks):
        assert self.plan() == plan(PIPELINE)
        assert checks == [6]

    @pytest.mark.parametrize(
        ("change", "n_checked"),
        [
            ({"catalogue": make_catalogue()}, 6),
            ({"sealed": SealedNames(connections=(), secrets=())}, 6),
            ({"params": {"b": {"ext1": 0.5}}}, 6),
            ({"range_": "to", "operators": ["b"]}, 2),
        ],
        ids=["catalogue", "sealed names", "parameters", "range"],
    )
    def test_whatever_has_changed_is_checked_again(self, checks, change, n_checked):
        self.plan(**change)
        assert checks == [n_checked]

    def test_a_data_set_that_has_gone_is_refused(self):
        with pytest.raises(PlanRefusedError) as caught:
            self.plan(datasets={})
        assert [problem.code for problem in caught.value.problems] == ["unknown_dataset"]

    def test_another_default_executor_is_looked_for(self):
        with pytest.raises(PlanRefusedError) as caught:
            self.plan(defaults=RunDefaults(executor="elsewhere"))
        assert {problem.code for problem in caught.value.problems} == {"unknown_executor"}
