import pytest

from dag_engine.api import errors
from tests.support.pickling import copy_by_pickle


def make(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors._ComeAgainError):
        return kind("code", "Detail.", 7)
    if kind is errors.BindRefusedError:
        return kind("0.0.0.0")
    return kind("code", "Detail.", "Hint.", [{"code": "one"}])


KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)
]


@pytest.mark.parametrize("kind", KINDS)
def test_error_survives_a_journey_between_processes(kind: type[Exception]) -> None:
    error = make(kind)

    copy = copy_by_pickle(error)

    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
