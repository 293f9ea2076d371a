"""Random runs end by themselves, however their alternatives are shared, nested and wired up."""

import random

import pytest

from dag_engine.core import machine
from dag_engine.core.changes import StoredRun
from dag_engine.core.graph import add_alternatives, build_graph, find_cycles
from dag_engine.core.live import LiveRun, attempt_id_of, provider, revive
from dag_engine.core.plan import Plan
from dag_engine.core.states import OPEN_TASK_STATES, TaskState
from tests.support.live_runs import ended, make_run
from tests.unit.core.test_machine import Stage


def _random_run(chance: random.Random) -> LiveRun:
    """Draw a graph and alternatives until the rules of a DAG file allow them together."""
    while True:
        names = [f"t{i}" for i in range(chance.randint(2, 9))]
        edges = [(a, b) for j, b in enumerate(names) for a in names[:j] if chance.random() < 0.3]
        partner = {
            name: other
            for name in names
            if chance.random() < 0.4 and (other := chance.choice(names)) != name
        }
        if find_cycles(add_alternatives(build_graph(names, edges), partner)):
            continue
        details: dict[str, dict] = {
            name: {"on_failure": chance.choice(["stop", "continue", "continue"])} for name in names
        }
        for name, other in partner.items():
            details[name]["alternative"] = other
        return make_run(edges, details=details)


def _take_a_step(stage: Stage, chance: random.Random) -> None:
    """Let something happen that happens by itself: no cancel, and no pause without its end."""
    open_tasks = [task for task in stage.run.tasks if task.state in OPEN_TASK_STATES]
    assert open_tasks, f"nothing is out and nothing follows: {stage.states}"
    task = chance.choice(open_tasks)
    if chance.random() < 0.05:
        stage.decide(machine.cancel_task, task.plan.operator)
    elif chance.random() < 0.05:
        stage.decide(machine.pause_run)
        stage.decide(machine.resume_run)
    else:
        attempt_id = attempt_id_of(stage.run.run_id, task.plan.index, task.row.attempt)
        state, reason = chance.choice(
            [("succeeded", ""), ("succeeded", ""), ("failed", "error"), ("failed", "error")]
        )
        stage.decide(machine.attempt_ended, task.plan.index, ended(attempt_id, state, reason))
    stage.hand_out_all()


def _revived(run: LiveRun) -> LiveRun:
    """Load the run as a scheduler would that takes over now."""
    return revive(
        StoredRun(
            run_id=run.run_id,
            namespace=run.namespace,
            state=run.state,
            reason_code="",
            reason="",
            priority=run.priority,
            created_at=run.created_at,
            started_at=run.row.started_at,
            last_seq=run.row.last_seq,
            plan=Plan(tasks=[task.plan for task in run.tasks]),
            tasks=[task.row for task in run.tasks],
            outputs={t.plan.index: t.outputs for t in run.tasks if t.outputs is not None},
        )
    )


def _derived(run: LiveRun) -> list[object]:
    tasks = [
        (task.state, task.n_waiting, task.is_called, task.is_provided)
        for task in run.tasks
        if not task.is_final
    ]
    return [run.n_unfinished, run.n_open, run.is_stopping, *tasks]


@pytest.mark.parametrize("seed", range(1000))
def test_a_run_whose_tasks_all_end_ends(seed: int) -> None:
    chance = random.Random(seed)
    stage = Stage(_random_run(chance)).start()
    while not stage.run.is_final:
        assert _derived(_revived(stage.run)) == _derived(stage.run)
        _take_a_step(stage, chance)
    for task in stage.run.tasks:
        assert task.is_final
        if task.state is TaskState.SUCCEEDED:
            assert all(provider(stage.run, source) for source in task.plan.upstream)
