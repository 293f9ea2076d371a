"""Checks a DAG against the catalogue: algorithms, executors, queues, ports, parameters, data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import Checked, DagDocument, Operator
from dag_engine.core.dagfile.parameters import check_params
from dag_engine.core.dagfile.ports import check_ports
from dag_engine.core.dagfile.schemas import (
    CONNECTION,
    DATASET,
    INLINE_SECRET,
    SECRET,
    ParamsSchema,
    compile_schema,
    find_references,
    find_values,
)
from dag_engine.core.nearest import NameFinder, hint_nearest
from dag_engine.core.problems import Path, shorten
from executors.base import AlgorithmOffer

KnownDatasets = Collection[str] | Callable[[str], bool]


def know_no_version(kind: str, name: str) -> str:
    """Stand in where nobody can tell the version of a connection or secret."""
    del kind, name
    return ""


@dataclass(frozen=True, slots=True)
class SealedNames:
    """The connections and secrets that parameters may name; None takes every name.

    `find_version` tells by kind and name which version is the present one; empty: nobody knows.
    """

    connections: Collection[str] | None = None
    secrets: Collection[str] | None = None
    find_version: Callable[[str, str], str] = know_no_version


EVERY_NAME = SealedNames()


@dataclass(slots=True)
class Surroundings:
    """What a DAG is checked against. None means that every name is taken.

    `dataset_ids` is a collection or a question; `sealed` names the connections and secrets;
    `default_executor` serves operators that name none.
    """

    catalogue: Catalogue
    dataset_ids: KnownDatasets | None = None
    queues: Collection[str] | None = None
    sealed: SealedNames = EVERY_NAME
    default_executor: str = "local"
    names: NameFinder = field(default_factory=NameFinder)
    asked: dict[str, bool] = field(default_factory=dict)

    def has_dataset(self, name: str) -> bool:
        """Whether there is such a data set; the same question is asked once."""
        if name not in self.asked:
            known = self.dataset_ids
            self.asked[name] = known is None or (known(name) if callable(known) else name in known)
        return self.asked[name]


def check_document(
    document: DagDocument, around: Surroundings, collector: ProblemCollector
) -> Checked:
    """Report everything in which the DAG does not fit its surroundings; return what it does fit."""
    checked = Checked(around.catalogue, around.sealed, around.default_executor)
    for operator in document.operators.values():
        path = ("dag", "operator_details", operator.id)
        offer = find_algorithm(operator, around, path, collector)
        if offer is not None:
            params_path = (*path, "params")
            checked.offers[operator.id] = offer
            checked.params[operator.id] = check_params(
                operator.id, operator.params, offer, params_path, collector, around.names
            )
            check_references(operator.id, operator.params, offer, params_path, around, collector)
        check_executor(operator, around, path, collector)
        _check_queue(operator, around, path, collector)
    check_ports(document, checked.offers, collector)
    checked.dataset_ids = around.asked.keys()
    return checked


def find_algorithm(
    operator: Operator, around: Surroundings, path: Path, collector: ProblemCollector
) -> AlgorithmOffer | None:
    """Return the algorithm's offer, or report that there is none."""
    known = around.catalogue.algorithms
    offer = known.get(operator.algorithm)
    if offer is None:
        nearest = around.names.find(operator.algorithm, known)
        collector.add(
            "unknown_algorithm",
            f"No operator engine has ever offered the algorithm {shorten(operator.algorithm)}.",
            (*path, "algo_name"),
            operator=operator.id,
            hint=hint_nearest(nearest, "See the catalogue for what is offered."),
        )
    return offer


def choose_executor(operator: Operator, catalogue: Catalogue, default: str) -> str:
    """Return the executor's name: that of the run section, else of the label, else the default.

    A label that the configuration does not map stands for itself.
    """
    if operator.run.executor is not None:
        return operator.run.executor
    if operator.data_type is not None:
        return catalogue.data_types.get(operator.data_type, operator.data_type)
    return default


def check_executor(
    operator: Operator, around: Surroundings, path: Path, collector: ProblemCollector
) -> None:
    """Report an executor that nobody offers, or a label that means none."""
    catalogue = around.catalogue
    name = choose_executor(operator, catalogue, around.default_executor)
    if name in catalogue.executors:
        return
    if operator.run.executor is not None:
        at, known = (*path, "run", "executor"), list(catalogue.executors)
        message = f"No operator engine has ever offered the executor {shorten(name)}."
    elif operator.data_type is None:
        at, known = path, list(catalogue.executors)
        message = f"No operator engine has ever offered the default executor {shorten(name)}."
    else:
        at = (*path, "data_type")
        known = [*catalogue.data_types, *catalogue.executors]
        message = f"The label {shorten(operator.data_type)} stands for no executor"
        if operator.data_type in catalogue.data_types:
            message += f" that was ever offered ('{name}')"
        message += "."
    nearest = around.names.find(operator.run.executor or operator.data_type or name, known)
    listed = f"Known are {', '.join(sorted(known)[:10])}." if known else ""
    hint = hint_nearest(nearest, listed or "Start an operator engine first.")
    collector.add("unknown_executor", message, at, operator=operator.id, hint=hint)


def _check_queue(
    operator: Operator, around: Surroundings, path: Path, collector: ProblemCollector
) -> None:
    queue = operator.run.queue
    if queue is None or around.queues is None or queue in around.queues:
        return
    nearest = around.names.find(queue, around.queues)
    listed = f"Known are {', '.join(sorted(around.queues)[:10])}."
    collector.add(
        "unknown_queue",
        f"There is no queue {shorten(queue)}.",
        (*path, "run", "queue"),
        operator=operator.id,
        hint=hint_nearest(nearest, listed),
    )


def check_references(
    operator: str,
    params: dict[str, Any],
    offer: AlgorithmOffer,
    path: Path,
    around: Surroundings,
    collector: ProblemCollector,
) -> None:
    """Report data sets, connections and secrets that a parameter names and that do not exist."""
    schema = compile_schema(offer.params_schema)
    if not schema.references:  # most algorithms name nothing
        return
    for at, name in find_references(schema, DATASET, params):
        if not around.has_dataset(name):
            ids = around.dataset_ids
            nearest = [] if ids is None or callable(ids) else around.names.find(name, ids)
            collector.add(
                "unknown_dataset",
                f"There is no data set {shorten(name)}.",
                (*path, *at),
                operator=operator,
                hint=hint_nearest(
                    nearest, "Register it first: dagengine datasets add FILE --id ID."
                ),
            )
    _check_sealed(operator, params, schema, path, around, collector)


def _check_sealed(
    operator: str,
    params: dict[str, Any],
    schema: ParamsSchema,
    path: Path,
    around: Surroundings,
    collector: ProblemCollector,
) -> None:
    """Report connections and secrets that are not there, and secrets that stand in the file.

    What is wrong may be the secret itself, put where its name belongs: it is not repeated.
    """
    sealed = around.sealed
    for kind, known in ((CONNECTION, sealed.connections), (SECRET, sealed.secrets)):
        for at, name in find_references(schema, kind, params):
            if known is not None and name not in known:
                nearest = around.names.find(name, known)
                collector.add(
                    f"unknown_{kind}",
                    f"The parameter '{_dotted(at)}' names a {kind} that is not there.",
                    (*path, *at),
                    operator=operator,
                    hint=hint_nearest(nearest, f"Store it first: dagengine {kind}s add NAME."),
                )
    for at, value in find_values(schema, INLINE_SECRET, params):
        if value not in (None, ""):
            collector.add(
                "secret_inline",
                f"The parameter '{_dotted(at)}' is a secret, and must not stand in a DAG file.",
                (*path, *at),
                operator=operator,
                hint="Store it with `dagengine secrets add NAME`, and let the algorithm take that "
                "NAME by a parameter of the format secret.",
            )


def _dotted(at: tuple[str | int, ...]) -> str:
    return ".".join(map(str, at))


def find_dataset_ids(
    document: DagDocument,
    catalogue: Catalogue,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> set[str]:
    """Return the ids of all data sets that the parameters (and overrides of them) name."""
    found: set[str] = set()
    for operator in document.operators.values():
        offer = catalogue.algorithms.get(operator.algorithm)
        schema = compile_schema(offer.params_schema) if offer is not None else None
        if schema is not None and schema.references:
            params = operator.params | dict((overrides or {}).get(operator.id, {}))
            found.update(name for _, name in find_references(schema, DATASET, params))
    return found
