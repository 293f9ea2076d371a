"""Random DAGs as documents, and the plans that the real planner makes of ranges of them."""

from __future__ import annotations

import random

from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile.document import DagDocument, Edge, Operator, RunSection
from dag_engine.core.errors import MissingArtifactsError, PlanRefusedError
from dag_engine.core.graph import add_alternatives, find_cycles
from dag_engine.core.plan import Plan, Reused, RunDefaults
from dag_engine.core.planning import Selection, complete_plan, draft_plan
from executors.base import AlgorithmOffer, ExecutorOffer, PortSpec
from tests.support.simulation.store import load_run
from tests.support.simulation.tables import Tables

_IN = [PortSpec(name="in", type="any", is_many=True, is_optional=True)]


def _offer(name: str, n_outputs: int) -> AlgorithmOffer:
    return AlgorithmOffer(
        name=name,
        entry="m:f",
        version="1",
        code_version="1+a",
        inputs=_IN,
        outputs=[PortSpec(name=f"out{i}", type="report") for i in range(n_outputs)],
        params_schema={"type": "object", "properties": {"x": {"type": "integer"}}},
    )


SEED_READERS = frozenset({"two"})
"""Algorithms whose results hang on their seed."""
CATALOGUE = Catalogue(
    algorithms={"one": _offer("one", 1), "two": _offer("two", 2)},
    executors={name: ExecutorOffer(name=name) for name in ("local", "other")},
)
_DEFAULTS = RunDefaults()
RETRY_ON = (["lost", "killed"], ["error"], ["error", "killed", "timeout", "lost"], [])


def draw_document(
    chance: random.Random, n_operators: int, *, has_cache: bool = False
) -> DagDocument:
    """Draw a DAG with fan-out, fan-in and alternatives; with a cache some operators are equal."""
    while True:
        document = _draw(chance, n_operators, has_cache=has_cache)
        if not find_cycles(add_alternatives(document.graph, document.alternatives)):
            return document


def _draw(chance: random.Random, n_operators: int, *, has_cache: bool) -> DagDocument:
    names = [f"t{i}" for i in range(n_operators)]
    density = chance.choice((0.15, 0.3, 0.5)) if n_operators < 12 else 1.5 / n_operators
    partner: dict[str, str] = {}
    if chance.random() < 0.5:
        for name in names:
            other = chance.choice(names)
            if other != name and chance.random() < 0.3:
                partner[name] = other
    may_split = not partner and chance.random() < 0.4
    algorithms = {n: "two" if may_split and chance.random() < 0.3 else "one" for n in names}
    operators = {
        name: Operator(
            id=name,
            number=i,
            algorithm=algorithms[name],
            params={"x": 0 if has_cache and chance.random() < 0.2 else i},
            run=_draw_run_section(chance, partner.get(name), has_cache=has_cache),
        )
        for i, name in enumerate(names)
    }
    edges = []
    for j, target in enumerate(names):
        for source in names[:j]:
            if chance.random() < density:
                port = chance.randrange(2) if algorithms[source] == "two" else 0
                edges.append(
                    Edge(
                        source=source,
                        source_port=port,
                        target=target,
                        target_port=0,
                        number=len(edges),
                    )
                )
    return DagDocument({}, operators, edges, "", "", b"", "application/yaml")


def _draw_run_section(
    chance: random.Random, alternative: str | None, *, has_cache: bool
) -> RunSection:
    draw = chance.random
    return RunSection(
        executor="other" if draw() < 0.1 else None,
        retries=chance.choice((0, 0, 1, 2)),
        retry_delay_s=chance.choice((0.05, 0.5, 2.0, 6.0)),
        retry_on=chance.choice(RETRY_ON),
        timeout_s=chance.choice((2.0, 6.0)) if draw() < 0.2 else None,
        labels={"zone": "a"} if draw() < 0.15 else {},
        priority=chance.choice((0, 0, 0, 5, -5)),
        queue="narrow" if draw() < 0.2 else None,
        cache=chance.choice(("use", "use", "use", "use", "refresh", "off")) if has_cache else "off",
        on_failure=None if alternative is not None else chance.choice(("stop", "continue")),
        alternative=alternative,
    )


def make_plan(
    document: DagDocument,
    tables: Tables,
    chance: random.Random,
    selection: Selection,
    base_run: str | None,
) -> Plan | None:
    """Plan a run as the api does; None where the range is refused or former results are missing."""
    try:
        draft = draft_plan(
            document,
            CATALOGUE,
            defaults=_DEFAULTS,
            datasets={},
            seeds=chance,
            selection=selection,
        )
        found = {} if not draft.needed else _find_former(tables, draft.needed, base_run)
        return complete_plan(draft, found)
    except (PlanRefusedError, MissingArtifactsError):
        return None


def _find_former(tables: Tables, needed: dict[str, str], base_run: str | None) -> dict[str, Reused]:
    """Find results with the same fingerprints: of the base run first, else of the newest run."""
    order = [base_run] if base_run is not None else []
    order += sorted(tables.runs, reverse=True)
    marks: dict[str, Reused] = {}
    for run_id in order:
        stored = load_run(tables, run_id)
        for task, row in zip(stored.plan.tasks, stored.tasks, strict=True):
            if row.state == "succeeded" and task.fingerprint not in marks:
                marks[task.fingerprint] = Reused(
                    operator=task.operator,
                    run_id=run_id,
                    attempt=row.attempt,
                    outputs=stored.outputs.get(task.index, []),
                )
    return {operator: marks[mark] for operator, mark in needed.items() if mark in marks}


def find_unfinished(tables: Tables, run_id: str) -> list[str]:
    """List what a run did not finish, as `dag_engine.storage.tasks` does."""
    return [
        row.operator
        for row in tables.tasks[run_id].values()
        if row.state != "succeeded"
        and not (row.state == "skipped" and row.reason_code == "not_needed")
    ]
