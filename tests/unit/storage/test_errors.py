"""The storage's errors survive a process boundary and say what to do."""

from __future__ import annotations

import inspect

import pytest

from dag_engine.storage import errors
from tests.support.pickling import copy_by_pickle

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, errors.StorageError)
]


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_can_be_pickled(error_class: type[errors.StorageError]) -> None:
    n_arguments = (
        0
        if error_class is errors.StorageError
        else len(inspect.signature(error_class.__init__).parameters) - 1
    )
    error = error_class(*[f"参数{i}" for i in range(n_arguments)])
    again = copy_by_pickle(error)
    assert type(again) is error_class
    assert str(again) == str(error)
    assert vars(again) == vars(error)
