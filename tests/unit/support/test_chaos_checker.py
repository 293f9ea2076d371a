"""The judge of the chaos tests goes red for whatever breaks a promise, and for nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos.campaign import CampaignPlan, Outcome, percentile
from tests.support.chaos.checker import check
from tests.support.chaos.faults import FaultRecord
from tests.support.chaos.history import (
    History,
    LedgerLine,
    StoredArtifact,
    StoredAttempt,
    StoredEvent,
    StoredRun,
    StoredTask,
)
from tests.support.chaos.shapes import draw_shape

RUN = "rabc"
NOON = 1_800_000_000.0


def _find_key(shape: str) -> str:
    return next(f"k{i}" for i in range(1000) if draw_shape(f"k{i}").name == shape)


def make_history(folder: Path, shape_name: str = "files") -> History:
    """Make the history of one run in which each operator took a tenth of a second."""
    key = _find_key(shape_name)
    history = History(asked={key: shape_name}, acked={key: {RUN}}, lease_s=5.0, n_slots=4)
    history.runs = [StoredRun(RUN, key, "succeeded")]
    for index, step in enumerate(draw_shape(key).steps):
        at = NOON + index
        attempt_id = f"{RUN}.{index}.1"
        path = folder / str(index)
        path.write_bytes(bytes(100))
        digest = hashlib.sha256(bytes(100)).hexdigest()
        history.tasks.append(StoredTask(RUN, index, step.name, "succeeded", "ran"))
        history.attempts.append(
            StoredAttempt(RUN, index, 1, "succeeded", "engine-a", "", "", at, at + 0.2, "host:100")
        )
        history.artifacts.append(StoredArtifact(RUN, index, str(path), digest, 100))
        history.events += [
            StoredEvent(RUN, step.name, 1, "pending", "queued", at),
            StoredEvent(RUN, step.name, 1, "queued", "succeeded", at + 0.2),
        ]
        history.ledger += [
            LedgerLine("start", key, step.name, attempt_id, 100, at + 0.1),
            LedgerLine("end", key, step.name, attempt_id, 100, at + 0.15),
        ]
    return history


def _lose_first_attempt(history: History, reason: str) -> None:
    """Let the first task's first attempt be lost, and a second one succeed."""
    first = history.attempts[0]
    lost = dataclasses.replace(first, state="failed", reason=reason, message=reason)
    history.attempts[0] = lost
    history.attempts.append(dataclasses.replace(first, attempt=2))
    start, end = history.ledger[0], history.ledger[1]
    history.ledger[1] = dataclasses.replace(start, attempt_id=f"{RUN}.0.2")
    history.ledger.append(dataclasses.replace(end, attempt_id=f"{RUN}.0.2"))


def _fault(kind: str, target: str, **fields: object) -> FaultRecord:
    record = FaultRecord(1, kind, target, NOON + 0.1, NOON + 0.1, reach=["engine-a"])
    return dataclasses.replace(record, **fields)


def test_an_honest_history_has_no_problem(tmp_path: Path) -> None:
    assert check(make_history(tmp_path)).problems() == []


def _drop_run(history: History) -> None:
    history.runs.clear()
    history.tasks.clear()
    history.attempts.clear()
    history.ledger.clear()


def _leave_open(history: History) -> None:
    history.runs[0] = dataclasses.replace(history.runs[0], state="running")


def _fail_run(history: History) -> None:
    history.runs[0] = dataclasses.replace(history.runs[0], state="failed")


def _make_twice(history: History) -> None:
    history.runs.append(dataclasses.replace(history.runs[0], run_id="rother"))


def _answer_twice(history: History) -> None:
    next(iter(history.acked.values())).add("rother")


def _make_unasked(history: History) -> None:
    history.runs.append(StoredRun("rother", "nobody", "succeeded"))


def _succeed_twice(history: History) -> None:
    history.events.append(history.events[1])


def _accept_two_attempts(history: History) -> None:
    history.attempts.append(dataclasses.replace(history.attempts[0], attempt=2))


def _start_early(history: History) -> None:
    line = history.ledger[2]
    history.ledger[2] = dataclasses.replace(line, at=history.events[1].at - 0.01)


def _execute_twice(history: History) -> None:
    history.ledger.append(history.ledger[0])


def _never_finish(history: History) -> None:
    history.ledger.pop(1)


def _execute_unknown(history: History) -> None:
    history.ledger.append(dataclasses.replace(history.ledger[0], attempt_id=f"{RUN}.0.7"))


def _fail_without_plan(history: History) -> None:
    _lose_first_attempt(history, "error")


def _lose_without_fault(history: History) -> None:
    _lose_first_attempt(history, "lost")


def _kill_another_worker(history: History) -> None:
    _lose_first_attempt(history, "killed")
    history.faults.append(_fault("kill", "engine-a pool worker", pids=[7]))


def _disturb_another_engine(history: History) -> None:
    _lose_first_attempt(history, "lost")
    history.faults.append(_fault("kill", "engine-b engine-main", reach=["engine-b"]))


def _disturb_long_ago(history: History) -> None:
    _lose_first_attempt(history, "lost")
    fault = _fault("kill", "engine-a engine-main", began=NOON - 60, ended=NOON - 50)
    history.faults.append(fault)


def _lose_twice_by_one_fault(history: History) -> None:
    _lose_first_attempt(history, "lost")
    second = dataclasses.replace(history.attempts[0], attempt=2)
    history.attempts[-1] = second
    history.attempts.append(dataclasses.replace(second, attempt=3, state="succeeded", reason=""))
    history.ledger[-1] = dataclasses.replace(history.ledger[-1], attempt_id=f"{RUN}.0.3")
    history.faults.append(_fault("stop", "engine-a engine-main", ended=NOON + 9))


def _halve_artifact(history: History) -> None:
    path = Path(history.artifacts[0].path)
    path.write_bytes(path.read_bytes()[:50])


def _spoil_artifact(history: History) -> None:
    Path(history.artifacts[0].path).write_bytes(b"x" * 100)


def _remove_artifact(history: History) -> None:
    Path(history.artifacts[0].path).unlink()


def _forget_artifact(history: History) -> None:
    history.artifacts.pop()


def _get_500(history: History) -> None:
    history.answers.append({"what": "unexpected", "status": 500, "took_s": 0.1})


def _give_up(history: History) -> None:
    history.answers.append({"what": "gave up", "key": "k"})


def _refuse_slowly(history: History) -> None:
    history.answers.append({"what": "refused", "status": 503, "took_s": 20.0})


def _crowd(history: History) -> None:
    history.n_slots = 1
    start, end = history.ledger[0], history.ledger[1]
    history.ledger[0:0] = [
        dataclasses.replace(start, pid=101, what="start"),
        dataclasses.replace(end, pid=101, what="end"),
    ]


def _differ_in_replay(history: History) -> None:
    history.replay_problems.append("an event is missing")


@pytest.mark.parametrize(
    ("forge", "where"),
    [
        (_drop_run, "lost"),
        (_leave_open, "lost"),
        (_fail_run, "lost"),
        (_make_twice, "double_accepted"),
        (_answer_twice, "double_accepted"),
        (_make_unasked, "double_accepted"),
        (_succeed_twice, "double_accepted"),
        (_accept_two_attempts, "double_accepted"),
        (_start_early, "started_early"),
        (_execute_twice, "unexplained"),
        (_never_finish, "unexplained"),
        (_execute_unknown, "unexplained"),
        (_fail_without_plan, "unexplained"),
        (_lose_without_fault, "unexplained"),
        (_kill_another_worker, "unexplained"),
        (_disturb_another_engine, "unexplained"),
        (_disturb_long_ago, "unexplained"),
        (_lose_twice_by_one_fault, "unexplained"),
        (_halve_artifact, "artifacts"),
        (_spoil_artifact, "artifacts"),
        (_remove_artifact, "artifacts"),
        (_forget_artifact, "artifacts"),
        (_get_500, "others"),
        (_give_up, "others"),
        (_refuse_slowly, "others"),
        (_crowd, "others"),
        (_differ_in_replay, "others"),
    ],
)
def test_a_forged_history_is_found_out(
    tmp_path: Path, forge: Callable[[History], None], where: str
) -> None:
    history = make_history(tmp_path)
    forge(history)
    assert getattr(check(history), where), check(history).problems()


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("killed", _fault("kill", "engine-a pool worker", pids=[100])),
        ("killed", _fault("kill", "engine-a executor-local")),
        ("lost", _fault("kill", "engine-a engine-main")),
        ("lost", _fault("stop", "dag-a scheduler", began=NOON - 20, ended=NOON - 4)),
        ("lost", _fault("kill", "everything", reach=[])),
    ],
)
def test_a_lost_attempt_is_explained_by_a_fault_that_could_end_it(
    tmp_path: Path, reason: str, fault: FaultRecord
) -> None:
    history = make_history(tmp_path)
    _lose_first_attempt(history, reason)
    history.faults.append(fault)
    assert check(history).problems() == []


def test_a_planned_failure_explains_a_second_attempt(tmp_path: Path) -> None:
    history = make_history(tmp_path, "retry")
    index = next(i for i, step in enumerate(draw_shape(history.runs[0].key).steps) if step.retries)
    first = history.attempts[index]
    history.attempts[index] = dataclasses.replace(first, state="failed", reason="error")
    history.attempts.append(dataclasses.replace(first, attempt=2))
    start, end = history.ledger[2 * index : 2 * index + 2]
    history.ledger[2 * index + 1] = dataclasses.replace(start, attempt_id=f"{RUN}.{index}.2")
    history.ledger.append(dataclasses.replace(end, attempt_id=f"{RUN}.{index}.2"))
    assert check(history).problems() == []


def test_a_run_whose_task_was_lost_too_often_may_fail(tmp_path: Path) -> None:
    history = make_history(tmp_path)
    _fail_run(history)
    task = history.tasks[-1]
    history.tasks[-1] = dataclasses.replace(task, state="failed", reason="quarantined")
    assert not check(history).lost


def test_the_closing_line_counts_what_was_found(tmp_path: Path) -> None:
    history = make_history(tmp_path)
    _make_twice(history)
    _lose_first_attempt(history, "lost")
    fault = _fault("kill", "engine-b scheduler", reach=["engine-b"], recovery_s=0.25, promise="p")
    outcome = Outcome("sqlite", CampaignPlan("s", 1, 1.0, 1, 5.0), tmp_path, [fault], history)
    outcome.verdict = check(history)
    line = outcome.closing_line()
    assert line.startswith("chaos sqlite: faults=1 acked=1 lost=0 double_accepted=1 ")
    assert "extra_attempts=1 extra_attempts_unexplained=1 recovery_p99_s=0.25" in line


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([], 99) == 0.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([*[1.0] * 99, math.inf], 99) == 1.0
    assert percentile([1.0, math.inf], 99) == math.inf
