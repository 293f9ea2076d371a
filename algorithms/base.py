"""What an algorithm is written with: the decorator, its ports, its context and its errors.

Nothing here imports a data library, so that a worker which runs light algorithms stays light.
"""

from __future__ import annotations

import inspect
import logging
import re
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

ARTIFACT_TYPES = ("table", "model", "report", "file")
"""What a port may hold; a port type is one of these, a union such as `table|model`, or `any`."""

_NAME = re.compile(r"^[a-z][a-z0-9_]{0,127}$")
_PORT_NAME = re.compile(r"^\w[\w-]{0,63}$")

AlgorithmFunction = TypeVar("AlgorithmFunction", bound=Callable[..., Any])


class AlgorithmError(Exception):
    """A failure of the input: shown to people without a traceback, and not retried.

    Parameters
    ----------
    message : str
        What was expected and what came.
    hint : str, default ""
        What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class AlgorithmDefinitionError(Exception):
    """An algorithm is declared in a way that cannot work; raised while its module is imported.

    Parameters
    ----------
    algorithm : str
        Name of the algorithm.
    problem : str
        What is wrong with the declaration and what was expected.
    """

    def __init__(self, algorithm: str, problem: str) -> None:
        super().__init__(algorithm, problem)
        self.algorithm = algorithm
        self.problem = problem

    def __str__(self) -> str:
        return f"Algorithm {self.algorithm!r}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of an algorithm.

    Parameters
    ----------
    name : str
        Name for people and for error messages.
    type : str
        `table`, `model`, `report`, `file`, a union such as `table|model`, or `any`.
    optional : bool, default False
        An input that may be left unconnected; the function then gets `None`.
    many : bool, default False
        An input that takes any number of edges; the function gets a list.

    Raises
    ------
    AlgorithmDefinitionError
        If the name or the type is none of these.

    Examples
    --------
    >>> Port("rows", "table|model").types
    ('table', 'model')
    """

    name: str
    type: str
    optional: bool = False
    many: bool = False

    def __post_init__(self) -> None:
        if not _PORT_NAME.match(self.name):
            raise AlgorithmDefinitionError(
                self.name, f"a port is named {self.name!r}; use letters, digits and underscores"
            )
        unknown = [part for part in self.type.split("|") if part not in (*ARTIFACT_TYPES, "any")]
        if unknown or ("any" in self.type.split("|") and self.type != "any"):
            raise AlgorithmDefinitionError(
                self.name,
                f"port {self.name!r} has type {self.type!r}; expected one of "
                f"{', '.join(ARTIFACT_TYPES)}, a union of them with '|', or any",
            )

    @property
    def types(self) -> tuple[str, ...]:
        """The artifact types that fit."""
        return ARTIFACT_TYPES if self.type == "any" else tuple(self.type.split("|"))


@dataclass(slots=True)
class FittedModel:
    """A fitted estimator with what is needed to use it.

    Parameters
    ----------
    estimator : object
        A fitted scikit-learn estimator.
    columns : sequence of str
        The columns it was fitted on, in order.
    target : str
        The column it predicts.
    positive_class : object
        The value of the target whose probability is the score.
    fitted_on : object, optional
        Reference of the table it was fitted on, for `Context.load`. Left out, the first table
        among the inputs of the algorithm that returns the model is recorded.
    """

    estimator: Any
    columns: Sequence[str]
    target: str = ""
    positive_class: Any = None
    fitted_on: Any = None


class Dataset(Protocol):
    """A pinned version of a registered dataset, as `Context.dataset` hands it out."""

    @property
    def id(self) -> str:
        """Id of the dataset."""

    @property
    def version(self) -> int:
        """Number of the pinned version."""

    @property
    def uri(self) -> str:
        """Where it lies."""

    @property
    def format(self) -> str:
        """Declared format (`csv`, `parquet`, …); empty = by the name's ending."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How it is to be read, as it was registered."""

    def path(self) -> Path:
        """Return a local file with its bytes: fetched and checked where it lies elsewhere."""


class Connection(Protocol):
    """A named database connection, as `Context.connection` hands it out: it reads whole tables."""

    def tables(self) -> list[str]:
        """List the tables and views that there are."""

    def columns(self, table: str) -> list[str]:
        """List the columns of a table that is there."""

    def read(
        self, table: str, columns: Sequence[str], limit: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield rows in portions; the names must be among those that the database itself lists."""


class Context:
    """What an algorithm is told of its surroundings, and what it may tell them.

    The runtime hands out a richer one; this one serves to call an algorithm by hand or in a test.

    Parameters
    ----------
    seed : int, default 0
        The number that all random draws start from.
    name : str, default "algorithm"
        Name of the logger.

    Attributes
    ----------
    seed : int
        Recorded with the attempt, so that a repetition draws the same numbers.
    metrics : dict
        What was recorded with `metric`.

    Examples
    --------
    >>> context = Context(seed=7)
    >>> context.metric("rows", 3)
    >>> context.metrics
    {'rows': 3.0}
    """

    def __init__(self, seed: int = 0, name: str = "algorithm") -> None:
        self.seed = seed
        self.metrics: dict[str, float] = {}
        self._name = name
        self._folder: Path | None = None

    @property
    def log(self) -> logging.Logger:
        """A standard logger whose lines go to the task's log."""
        return logging.getLogger(self._name)

    @property
    def workdir(self) -> Path:
        """A private folder, made on first use and removed afterwards."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="algorithm-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def progress(self, done: float, total: float = 0, message: str = "") -> None:
        """Tell how far the work is: `done` of `total` steps (0 = unknown), and a sentence."""

    def metric(self, name: str, value: float) -> None:
        """Record a number under a name; it is shown with the task."""
        self.metrics[name] = float(value)

    def cancelled(self) -> bool:
        """Tell whether someone asked to stop; an algorithm that loops for long should look."""
        return False

    def dataset(self, data_id: str | int) -> Dataset:
        """Return the pinned version of the dataset that a parameter names.

        Raises
        ------
        AlgorithmError
            If the task carries no dataset of this id.
        """
        raise AlgorithmError(f"No dataset {str(data_id)!r} is known to this context.")

    def connection(self, name: str) -> Connection:
        """Return the database connection that a parameter names.

        Raises
        ------
        AlgorithmError
            If the task carries no connection of this name.
        """
        raise AlgorithmError(f"No connection {name!r} is known to this context.")

    def secret(self, name: str) -> str:
        """Return the stored secret that a parameter of the format `secret` names.

        It is taken out of the log, of errors, progress and reports. Whatever else the algorithm
        does with it is the algorithm's own business.

        Raises
        ------
        AlgorithmError
            If the task carries no secret of this name.
        """
        raise AlgorithmError(f"No secret {name!r} is known to this context.")

    def load(self, reference: Any) -> Any:
        """Open an artifact's reference: a table as a DataFrame, a model as a `FittedModel`, ….

        Raises
        ------
        AlgorithmError
            If the artifact is not there any more, or is not what the reference says.
        """
        raise AlgorithmError("This context opens no references.")


@dataclass(frozen=True, slots=True)
class AlgorithmInfo:
    """What the decorator records on the function, as its attribute `algorithm`.

    Parameters
    ----------
    name, title, title_zh, family, version, inputs, outputs, is_cacheable
        As given to the decorator.
    params : type of pydantic.BaseModel
        The annotation of the function's second parameter.
    function : callable
        The function itself.
    """

    name: str
    title: str
    title_zh: str
    family: str
    version: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    is_cacheable: bool
    params: type[BaseModel]
    function: Callable[..., Any]


def algorithm(  # noqa: PLR0913 - the declaration of an algorithm has this many facts
    name: str,
    *,
    title: str,
    title_zh: str = "",
    family: str = "",
    version: str = "1",
    inputs: Sequence[Port] = (),
    outputs: Sequence[Port] = (),
    cacheable: bool = True,
) -> Callable[[AlgorithmFunction], AlgorithmFunction]:
    """Declare a function to be an algorithm.

    The function takes the context, its parameters and one argument per input port, in port order,
    and returns one value per output port: alone, or as a tuple in port order.

    Parameters
    ----------
    name : str
        What DAG files call it (`algo_name`): lower-case letters, digits, underscores.
    title, title_zh : str
        For people, in English and Chinese.
    family : str
        The group that it is shown in.
    version : str, default "1"
        To be raised when results change; part of the cache key.
    inputs, outputs : sequence of Port
        In the order of their numbers.
    cacheable : bool, default True
        False where equal inputs need not give equal outputs.

    Returns
    -------
    callable
        A decorator that returns the function itself, with the attribute `algorithm`.

    Raises
    ------
    AlgorithmDefinitionError
        If the name is not of that form, the function's arguments do not fit the input ports, or
        its second parameter is not annotated with a pydantic model.

    Examples
    --------
    >>> from pydantic import BaseModel
    >>> class AddParams(BaseModel):
    ...     a: int = 1
    ...     b: int = 2
    >>> @algorithm("add", title="Add", outputs=[Port("sum", "report")])
    ... def add(context: Context, params: AddParams) -> dict:
    ...     return {"sum": params.a + params.b}
    >>> add.algorithm.outputs[0].type
    'report'
    """
    if not _NAME.match(name):
        raise AlgorithmDefinitionError(
            name, "the name must be of lower-case letters, digits and underscores"
        )
    caller_names = sys._getframe(1).f_locals

    def decorate(function: AlgorithmFunction) -> AlgorithmFunction:
        _check_names_differ(name, inputs)
        _check_names_differ(name, outputs)
        info = AlgorithmInfo(
            name=name,
            title=title,
            title_zh=title_zh,
            family=family,
            version=version,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            is_cacheable=cacheable,
            params=_find_params_model(name, function, caller_names, len(inputs)),
            function=function,
        )
        function.algorithm = info  # type: ignore[attr-defined]  # a function takes attributes
        return function

    return decorate


def _check_names_differ(name: str, ports: Sequence[Port]) -> None:
    names = [port.name for port in ports]
    if len(set(names)) < len(names):
        raise AlgorithmDefinitionError(name, f"two ports have one name among {names}")


def _find_params_model(
    name: str, function: Callable[..., Any], caller_names: Mapping[str, Any], n_inputs: int
) -> type[BaseModel]:
    """Resolve the annotation of the second parameter alone: the others may name data libraries
    that are imported for type checkers only.
    """
    arguments = list(inspect.signature(function).parameters.values())
    if len(arguments) != n_inputs + 2:
        raise AlgorithmDefinitionError(
            name,
            f"{n_inputs} input port(s) are declared, so the function must take the context, the "
            f"parameters and {n_inputs} input(s); it takes {len(arguments)} argument(s)",
        )
    annotation = arguments[1].annotation
    if isinstance(annotation, str):
        # The text stands in the algorithm's own source, so it is code like the rest of it.
        names = {**function.__globals__, **caller_names}
        try:
            annotation = eval(annotation, names)
        except NameError as error:
            raise AlgorithmDefinitionError(
                name, f"the annotation of its parameters is not defined: {error}"
            ) from error
    if not hasattr(annotation, "model_fields"):
        raise AlgorithmDefinitionError(
            name, "annotate the second argument with a pydantic model of the parameters"
        )
    model: type[BaseModel] = annotation
    return model
