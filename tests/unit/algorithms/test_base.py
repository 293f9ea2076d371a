import pytest
from pydantic import BaseModel

from algorithms.base import (
    AlgorithmDefinitionError,
    AlgorithmError,
    Context,
    Port,
    algorithm,
)
from tests.support.pickling import copy_by_pickle


class NoParams(BaseModel):
    pass


def declare(function, **fields):
    return algorithm("thing", title="Thing", **fields)(function)


def test_the_function_stays_callable_and_bears_its_declaration():
    def thing(context: Context, params: NoParams) -> None:
        return "called"

    assert declare(thing) is thing
    assert thing(None, None) == "called"
    assert thing.algorithm.params is NoParams


def test_a_params_model_of_the_surrounding_function_is_found():
    class Local(BaseModel):
        pass

    @algorithm("thing", title="Thing")
    def thing(context, params: "Local"):
        pass

    assert thing.algorithm.params is Local


def test_arguments_must_match_the_ports():
    def thing(context, params: NoParams):
        pass

    with pytest.raises(AlgorithmDefinitionError, match=r"1 input port\(s\) are declared"):
        declare(thing, inputs=[Port("rows", "table")])


@pytest.mark.parametrize("annotation", [dict, "Nowhere", int])
def test_parameters_must_be_a_pydantic_model(annotation):
    def thing(context, params):
        pass

    thing.__annotations__["params"] = annotation
    with pytest.raises(AlgorithmDefinitionError, match="annotat"):
        declare(thing)


@pytest.mark.parametrize("kind", ["tables", "table|", "any|table", ""])
def test_port_types_are_checked(kind):
    with pytest.raises(AlgorithmDefinitionError, match="has type"):
        Port("rows", kind)


def test_port_and_algorithm_names_are_checked():
    with pytest.raises(AlgorithmDefinitionError):
        Port("a b", "table")
    with pytest.raises(AlgorithmDefinitionError):
        algorithm("Über", title="x")
    with pytest.raises(AlgorithmDefinitionError, match="one name"):
        declare(lambda context, params, a, b: None, inputs=[Port("a", "table")] * 2)


def test_any_takes_every_type():
    assert Port("x", "any").types == ("table", "model", "report", "file")


def test_plain_context_offers_a_folder_and_nothing_to_load():
    context = Context(seed=5)
    folder = context.workdir
    (folder / "x").write_text("x")
    assert context.seed == 5
    assert not context.cancelled()
    for call in (context.dataset, context.connection, context.load):
        with pytest.raises(AlgorithmError):
            call("40")
    del context, call
    assert not folder.exists()


@pytest.mark.parametrize(
    "error", [AlgorithmError("a", "b"), AlgorithmDefinitionError("a", "b")], ids=lambda e: type(e)
)
def test_errors_survive_pickling(error):
    again = copy_by_pickle(error)
    assert (str(again), again.args) == (str(error), error.args)
