"""Makes the plan of a run from a checked DAG: which operators of the range run, in which order,
with what, and what is reused from former runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile.checking import (
    EVERY_NAME,
    SealedNames,
    Surroundings,
    check_document,
    choose_executor,
)
from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.document import Checked, DagDocument, Edge, Operator, RunSection
from dag_engine.core.dagfile.parameters import name_datasets_by_text
from dag_engine.core.dagfile.schemas import (
    CONNECTION,
    DATASET,
    SECRET,
    compile_schema,
    find_references,
)
from dag_engine.core.errors import MissingArtifactsError, PlanRefusedError
from dag_engine.core.fingerprints import InputPrints, make_fingerprint
from dag_engine.core.graph import (
    RANGE_WORDS,
    Graph,
    RangeWord,
    add_alternatives,
    follow_alternatives,
    order_breadth_first,
    reach,
    select_range,
)
from dag_engine.core.nearest import hint_nearest
from dag_engine.core.overrides import Overrides, apply_overrides
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask, Reused, RunDefaults
from dag_engine.core.problems import shorten
from dag_engine.core.work_keys import make_work_base
from executors.base import AlgorithmOffer, DatasetRef, Resources

_SEED_BITS = 31
_NOTHING_SAID = RunSection()


class SeedSource(Protocol):
    """Where seeds come from; `random.Random` is one."""

    def getrandbits(self, k: int, /) -> int:
        """Return a number of `k` random bits."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The range of a run.

    `operators` are named for `from`, `to`, `only` and `children`; `unfinished` are, for `failed`,
    those of the former run that neither succeeded nor were skipped as not needed.
    """

    range: RangeWord = "all"
    operators: Collection[str] = ()
    unfinished: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _OutsideInput:
    """An edge into a task of the range from an operator outside it."""

    task: int
    port: int
    number: int
    source: str
    source_port: int


@dataclass(slots=True)
class Draft:
    """A plan that still lacks the former results of operators outside its range.

    `needed` maps the operators whose results may be used to their fingerprints. `stand_ins` names
    for such an operator its alternatives, whose result does as well; they stand in `needed`, too.
    """

    tasks: list[PlannedTask]
    needed: dict[str, str] = field(default_factory=dict)
    stand_ins: dict[str, list[str]] = field(default_factory=dict)
    outside: list[_OutsideInput] = field(default_factory=list)


def draft_plan(  # noqa: PLR0913 - each is one fact of the run, given by keyword
    document: DagDocument,
    catalogue: Catalogue,
    *,
    defaults: RunDefaults,
    datasets: Mapping[str, DatasetRef],
    seeds: SeedSource,
    selection: Selection | None = None,
    params: Overrides | None = None,
    kept_seeds: Mapping[str, int] | None = None,
    sealed: SealedNames = EVERY_NAME,
) -> Draft:
    """Plan a run of a DAG, or of a range of it.

    Parameters
    ----------
    document : DagDocument
        A sound DAG. As far as the range depends on it, it is checked against the catalogue again,
        unless `accept_dag` has just done that with the same catalogue.
    catalogue : Catalogue
        What is offered now.
    defaults : RunDefaults
        What the operators' run sections leave open.
    datasets : mapping of str to DatasetRef
        The versions to pin, for every id of `find_dataset_ids`.
    seeds : SeedSource
        Where each task's seed is drawn from.
    selection : Selection, optional
        The range; absent: all.
    params : mapping of str to mapping, optional
        Parameters to override, by operator and name.
    kept_seeds : mapping of str to int, optional
        Seeds of a former run that are to be kept, by operator.
    sealed : SealedNames, optional
        Names of the connections and secrets that there are; absent: every name is taken.

    Raises
    ------
    PlanRefusedError
        With all problems of the range, the overrides, and of what the catalogue no longer offers.
    """
    collector = ProblemCollector()
    around = Surroundings(catalogue, datasets, None, sealed, default_executor=defaults.executor)
    selection = selection or Selection()
    _check_selection(document, selection, around, collector)
    overridden = apply_overrides(document, params or {}, around, collector)
    if collector:
        raise PlanRefusedError(collector.finish())
    graph = add_alternatives(document.graph, document.alternatives)
    chosen = select_range(
        document.graph,
        selection.range,
        selection.operators,
        unfinished=selection.unfinished,
        alternatives=document.alternatives,
    )
    part = _take_part(document, graph, chosen, overridden)
    is_whole = not overridden and len(part.operators) == len(document.operators)
    checked = _find_checked(document, around, datasets) if is_whole else None
    if checked is None:
        collector = document.collector.make_empty()
        checked = check_document(part, around, collector)
        if collector:
            raise PlanRefusedError(collector.finish())
    planner = _Planner(part, checked, datasets, around)
    return planner.draft(order_breadth_first(graph), chosen, defaults, seeds, kept_seeds or {})


def _find_checked(
    document: DagDocument, around: Surroundings, datasets: Mapping[str, DatasetRef]
) -> Checked | None:
    """Return what came of the check of the whole document, where it was made against the same."""
    checked = document.checked
    is_same = (
        checked is not None
        and checked.catalogue is around.catalogue
        and checked.sealed is around.sealed
        and checked.default_executor == around.default_executor
        and datasets.keys() >= set(checked.dataset_ids)
    )
    return checked if is_same else None


def _check_selection(
    document: DagDocument, selection: Selection, around: Surroundings, collector: ProblemCollector
) -> None:
    word, operators = selection.range, selection.operators
    if word not in RANGE_WORDS:
        hint = f"Known are {', '.join(RANGE_WORDS)}."
        collector.add("unknown_value", f"There is no range {shorten(word)}.", ("range",), hint=hint)
        return
    for number, name in enumerate(operators):
        if name not in document.operators:
            collector.add(
                "unknown_operator",
                f"The range names {shorten(name)}, which is no operator.",
                ("operators", number),
                operator=str(name),
                hint=hint_nearest(around.names.find(str(name), document.operators)),
            )
    takes_operators = word not in ("all", "failed")
    if takes_operators and not operators:
        message = f"The range '{word}' must name at least one operator."
        collector.add("missing_operators", message, ("operators",))
    elif operators and not takes_operators:
        message = f"The range '{word}' takes no operators."
        hint = "Leave them out, or ask for the range 'from', 'to', 'only' or 'children'."
        collector.add("unexpected_operators", message, ("operators",), hint=hint)


def _take_part(
    document: DagDocument,
    graph: Graph,
    chosen: Collection[str],
    overridden: Mapping[str, dict[str, Any]],
) -> DagDocument:
    """Return the range with all that it depends on, and the overridden parameters in place."""
    wanted = reach(chosen, graph.above)
    operators = {
        name: operator
        if name not in overridden
        else msgspec.structs.replace(operator, params=overridden[name])
        for name, operator in document.operators.items()
        if name in wanted
    }
    edges = [edge for edge in document.edges if edge.target in wanted]
    return dataclasses.replace(document, operators=operators, edges=edges)


class _Planner:
    """Plans the tasks of a range; `part` is the range with all that it depends on."""

    def __init__(
        self,
        part: DagDocument,
        checked: Checked,
        datasets: Mapping[str, DatasetRef],
        around: Surroundings,
    ) -> None:
        self._part = part
        self._offers = checked.offers
        self._schemas = {
            name: compile_schema(checked.offers[name].params_schema) for name in part.operators
        }
        self._params = checked.params
        self._around = around
        self._datasets = {name: self._pin(name, datasets) for name in part.operators}
        self._prints: dict[str, str] = {}
        self._settled: dict[bool, dict[str, Any]] = {}
        # Alternatives that lie outside the part can never stand in for one of its operators.
        self._alternatives = {
            operator: alternative
            for operator, alternative in part.alternatives.items()
            if alternative in part.operators
        }
        self._rescues: dict[str, list[str]] = {}
        for operator, alternative in self._alternatives.items():
            self._rescues.setdefault(alternative, []).append(operator)

    def draft(
        self,
        order: list[str],
        chosen: Collection[str],
        defaults: RunDefaults,
        seeds: SeedSource,
        kept_seeds: Mapping[str, int],
    ) -> Draft:
        """Plan the chosen operators in the given order."""
        indexes = {name: i for i, name in enumerate(name for name in order if name in chosen)}
        draft = Draft([])
        for name in order:
            if name not in self._part.operators:
                continue
            self._prints[name] = self._fingerprint(name)
            if name in indexes:
                seed = kept_seeds[name] if name in kept_seeds else seeds.getrandbits(_SEED_BITS)
                draft.tasks.append(self._plan(name, indexes, defaults, seed, draft))
        return draft

    def _pin(self, name: str, datasets: Mapping[str, DatasetRef]) -> dict[str, DatasetRef]:
        found = find_references(self._schemas[name], DATASET, self._params[name])
        return {dataset: datasets[dataset] for _, dataset in found}

    def _fingerprint(self, name: str) -> str:
        offer = self._offers[name]
        inputs: InputPrints = [[] for _ in offer.inputs]
        for edge in self._part.edges_into[name]:
            inputs[edge.target_port].append([edge.source_port, *self._print_of(edge.source)])
        params = name_datasets_by_text(self._schemas[name], self._params[name])
        return make_fingerprint(offer, params, self._datasets[name], inputs)

    def _print_of(self, name: str) -> list[str]:
        """List the fingerprints of an operator and of what may stand in for it."""
        if not self._alternatives:
            return [self._prints[name]]
        stand_ins = follow_alternatives(name, self._alternatives)
        return [self._prints[source] for source in (name, *stand_ins)]

    def _plan(
        self,
        name: str,
        indexes: Mapping[str, int],
        defaults: RunDefaults,
        seed: int,
        draft: Draft,
    ) -> PlannedTask:
        operator, offer = self._part.operators[name], self._offers[name]
        index = indexes[name]
        inputs: list[list[PlannedInput]] = [[] for _ in offer.inputs]
        upstream: dict[int, None] = {}
        for edge in self._part.edges_into[name]:
            port = inputs[edge.target_port]
            source = indexes.get(edge.source)
            if source is None:
                self._need(index, edge, len(port), draft)
            else:
                upstream[source] = None
            port.append(PlannedInput(source=source, source_port=edge.source_port))
        alternative = indexes.get(self._alternatives.get(name, ""))
        settled = self._settle(operator, offer, defaults, alternative)
        return PlannedTask(
            index=index,
            operator=name,
            algorithm=offer.name,
            entry=offer.entry,
            code_version=offer.code_version,
            title=operator.title or offer.title,
            executor=choose_executor(operator, self._around.catalogue, defaults.executor),
            params=self._params[name],
            inputs=inputs,
            upstream=sorted(upstream),
            n_outputs=len(offer.outputs),
            seed=seed,
            alternative=alternative,
            is_alternative=any(rescued in indexes for rescued in self._rescues.get(name, [])),
            datasets=self._datasets[name],
            connections=self._find_names(name, CONNECTION),
            secrets=self._find_names(name, SECRET),
            fingerprint=self._prints[name],
            work_base="" if settled["cache"] == "off" else self._make_base(name),
            **settled,
        )

    def _find_names(self, name: str, kind: str) -> list[str]:
        """List the connections or secrets that an operator names."""
        schema = self._schemas[name]
        if kind not in schema.references:
            return []
        return sorted({found for _, found in find_references(schema, kind, self._params[name])})

    def _settle(
        self,
        operator: Operator,
        offer: AlgorithmOffer,
        defaults: RunDefaults,
        alternative: int | None,
    ) -> dict[str, Any]:
        """Fill what the run section leaves open; most operators have none, and share what is."""
        if alternative is not None or operator.run != _NOTHING_SAID:
            return _settle_run_section(operator.run, offer, defaults, alternative)
        settled = self._settled.get(offer.is_cacheable)
        if settled is None:
            settled = _settle_run_section(operator.run, offer, defaults, None)
            self._settled[offer.is_cacheable] = settled
        return settled

    def _make_base(self, name: str) -> str:
        find_version = self._around.sealed.find_version
        sealed = {
            (kind, found): find_version(kind, found)
            for kind in (CONNECTION, SECRET)
            for found in self._find_names(name, kind)
        }
        params = name_datasets_by_text(self._schemas[name], self._params[name])
        return make_work_base(self._offers[name], params, self._datasets[name], sealed)

    def _need(self, task: int, edge: Edge, number: int, draft: Draft) -> None:
        """Note that the result of an operator outside the range is needed, or one that stands in
        for it.
        """
        stand_ins = follow_alternatives(edge.source, self._alternatives)
        for source in (edge.source, *stand_ins):
            draft.needed[source] = self._prints[source]
        if stand_ins:
            draft.stand_ins[edge.source] = stand_ins
        draft.outside.append(
            _OutsideInput(task, edge.target_port, number, edge.source, edge.source_port)
        )


def _settle_run_section(
    run: RunSection, offer: AlgorithmOffer, defaults: RunDefaults, alternative: int | None
) -> dict[str, Any]:
    settled: dict[str, Any] = {
        name: getattr(defaults, name) if getattr(run, name) is None else getattr(run, name)
        for name in ("retries", "retry_on", "timeout_s", "cache", "priority", "queue")
    }
    delay = defaults.retry_delay_s if run.retry_delay_s is None else run.retry_delay_s
    settled["retry_delay_s"] = float(delay)
    if not offer.is_cacheable:
        settled["cache"] = "off"
    settled["resources"] = Resources(
        cpu=float(defaults.cpu if run.cpu is None else run.cpu),
        memory_mb=defaults.memory_mb if run.memory_mb is None else run.memory_mb,
        gpu=float(run.gpu or 0.0),
    )
    settled["labels"] = dict(run.labels)
    settled["on_failure"] = (
        "alternative" if alternative is not None else run.on_failure or defaults.on_failure
    )
    return settled


def complete_plan(draft: Draft, found: Mapping[str, Reused]) -> Plan:
    """Fill in the former results; raises `MissingArtifactsError` naming what each operator lacks.

    `found` has, for the operators of `draft.needed`, what a former run with the same fingerprint
    left.
    """
    lacking: dict[str, str] = {}
    used: dict[str, Reused] = {}
    filled: dict[int, list[list[PlannedInput]]] = {}
    for item in draft.outside:
        candidates = [item.source, *draft.stand_ins.get(item.source, [])]
        reused = next((found[name] for name in candidates if name in found), None)
        task = draft.tasks[item.task]
        if reused is None or item.source_port >= len(reused.outputs):
            what = "result" if reused is None else f"output {item.source_port}"
            lacking.setdefault(
                item.source,
                f"no former run with the same parameters and inputs left its {what}, which "
                f"'{task.operator}' needs.",
            )
            continue
        used[reused.operator] = reused
        inputs = filled.setdefault(item.task, [list(port) for port in task.inputs])
        artifact = reused.outputs[item.source_port]
        inputs[item.port][item.number] = PlannedInput(artifact=artifact)
    if lacking:
        raise MissingArtifactsError(lacking)
    tasks = list(draft.tasks)
    for index, inputs in filled.items():
        tasks[index] = msgspec.structs.replace(tasks[index], inputs=inputs)
    return Plan(tasks=tasks, reused=list(used.values()))
