import pytest

from dag_engine.core.errors import (
    CoreError,
    DagFileError,
    MissingArtifactsError,
    PlanRefusedError,
    ProblemsError,
)
from dag_engine.core.problems import Problem
from tests.support.pickling import copy_by_pickle

PROBLEM = Problem(code="cycle", message="A cycle.", line=3, column=4)


@pytest.mark.parametrize(
    "error",
    [
        CoreError("x"),
        ProblemsError([PROBLEM]),
        DagFileError([PROBLEM, PROBLEM]),
        PlanRefusedError([PROBLEM]),
        MissingArtifactsError({"a": "no result."}),
    ],
)
def test_every_error_survives_pickling(error):
    again = copy_by_pickle(error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_the_first_problem_speaks_for_all():
    assert str(DagFileError([PROBLEM, PROBLEM])) == "A cycle. (line 3, column 4) And 1 more."


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (["cycle"], 422),
        (["cycle", "duplicate_key"], 400),
        (["too_large"], 413),
    ],
)
def test_the_status_follows_the_gravest_problem(codes, status):
    error = DagFileError([Problem(code=code, message="") for code in codes])
    assert error.http_status == status
    assert copy_by_pickle(error).http_status == status


def test_many_missing_results_are_named_in_part():
    error = MissingArtifactsError({f"n{i}": "lacks it." for i in range(7)})
    assert "n4: lacks it. And 2 more." in str(error)
