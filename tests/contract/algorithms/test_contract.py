"""Every algorithm that ships keeps the contract that others' algorithms are held to."""

import doctest
import importlib
import pkgutil

import jsonschema_rs
import pytest

import algorithms
from executors.runtime.catalogue import find_algorithms, make_schema
from executors.runtime.check import check_algorithm

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(algorithms.__path__, "algorithms.")
]
FOUND = [info for module in MODULES for _, info in find_algorithms(module)]


def test_the_algorithms_that_the_screens_know_are_there():
    assert {
        "algo_local_read_file",
        "algo_local_split_data",
        "algo_local_model_2c_l",
        "algo_local_model_gbdt",
        "algo_local_model_predict",
        "algo_local_model_2c_eval",
    } <= {info.name for info in FOUND}


@pytest.mark.parametrize("info", FOUND, ids=lambda info: info.name)
def test_the_contract_is_kept(info):
    assert check_algorithm(info) == []


@pytest.mark.parametrize("info", FOUND, ids=lambda info: info.name)
def test_one_algorithm_a_file_named_like_it(info):
    module = info.function.__module__
    assert module.rpartition(".")[2] == info.name
    assert module.split(".")[1] in ("source", "preprocessing", "model", "evaluation")


@pytest.mark.parametrize("info", FOUND, ids=lambda info: info.name)
def test_its_schema_is_valid_and_refuses_unknown_parameters(info):
    validator = jsonschema_rs.validator_for(make_schema(info))
    assert not validator.is_valid({"no_such_parameter": 1})


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_examples_in_its_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0
