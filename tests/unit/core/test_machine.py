"""What follows from what happens, told on small graphs."""

import datetime as dt
import random
from collections import Counter

import pytest
from msgspec import structs

from dag_engine.core import machine
from dag_engine.core.changes import Former
from dag_engine.core.live import Decision, LiveRun, provider
from dag_engine.core.states import FINAL_RUN_STATES, TASK_MOVES, RunState, TaskState
from executors.base import ArtifactRef, Outcome, Progress
from tests.support.live_runs import Stage, ended, make_run

DIAMOND = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def test_a_task_is_offered_when_the_last_of_its_inputs_is_there() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    assert stage.states == {"a": "queued", "b": "pending", "c": "pending", "d": "pending"}
    stage.end("a")
    assert stage.states == {"a": "succeeded", "b": "queued", "c": "queued", "d": "pending"}
    stage.end("b")
    assert stage.states["d"] == "pending"
    stage.end("c")
    assert stage.states["d"] == "queued"
    stage.end("d")
    assert stage.run.state is RunState.SUCCEEDED
    assert stage.run.row.counts == {"pending": 0, "queued": 0, "succeeded": 4}


def test_a_repeated_end_is_a_duplicate_and_changes_nothing() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    assert stage.end("a") == "applied"
    seq = stage.run.row.last_seq
    outcome = ended("r1.0.1", "failed", "error")
    assert stage.decide(machine.attempt_ended, 0, outcome) == "duplicate"
    assert stage.run.row.last_seq == seq
    assert not stage.decisions[-1].batch


def test_a_failure_stops_the_run_but_lets_what_runs_finish() -> None:
    stage = Stage(make_run([*DIAMOND, ("x", "y")])).start()
    stage.end("a")
    stage.decide(machine.attempt_started, 2, ended(stage.attempt("c")))
    stage.decide(machine.attempt_started, 4, ended(stage.attempt("x")))
    stage.end("b", "failed", "error")
    assert stage.states == {
        "a": "succeeded",
        "b": "failed",
        "c": "running",
        "d": "upstream_failed",
        "x": "running",
        "y": "skipped",
    }
    stage.end("c")
    stage.end("x")
    assert stage.run.state is RunState.FAILED
    assert "b is failed" in stage.run.row.reason


def test_with_continue_what_does_not_depend_on_the_failure_goes_on() -> None:
    details = {"b": {"on_failure": "continue"}}
    stage = Stage(make_run([*DIAMOND, ("x", "y")], details=details)).start()
    stage.end("a")
    stage.end("b", "failed", "error")
    stage.end("x")
    assert stage.states["y"] == "queued"
    assert stage.states["d"] == "upstream_failed"
    stage.end("c")
    stage.end("y")
    assert stage.run.state is RunState.FAILED


def test_an_alternative_runs_only_after_the_failure_and_saves_the_run() -> None:
    details = {"b": {"alternative": "plan_b"}}
    stage = Stage(make_run([("a", "b"), ("a", "plan_b"), ("b", "c")], details=details)).start()
    stage.end("a")
    assert stage.states == {"a": "succeeded", "b": "queued", "plan_b": "pending", "c": "pending"}
    stage.end("b", "failed", "error")
    assert stage.states["plan_b"] == "queued"
    stage.end("plan_b")
    assert stage.states["c"] == "queued"
    stage.end("c")
    assert stage.run.state is RunState.SUCCEEDED


def test_an_alternative_that_is_not_needed_is_skipped() -> None:
    details = {"b": {"alternative": "plan_b"}}
    stage = Stage(make_run([("a", "b"), ("a", "plan_b"), ("b", "c")], details=details)).start()
    for operator in "abc":
        stage.end(operator)
    assert stage.states["plan_b"] == "skipped"
    assert stage.run.state is RunState.SUCCEEDED


def test_when_the_alternative_fails_too_the_run_fails() -> None:
    details = {"b": {"alternative": "plan_b"}}
    stage = Stage(make_run([("a", "b"), ("a", "plan_b"), ("b", "c")], details=details)).start()
    stage.end("a")
    stage.end("b", "failed", "error")
    stage.end("plan_b", "failed", "error")
    assert stage.states["c"] == "upstream_failed"
    assert stage.run.state is RunState.FAILED


def test_named_reasons_are_retried_with_a_delay_that_doubles() -> None:
    details = {"a": {"retries": 2, "retry_delay_s": 10.0, "retry_on": ["error"]}}
    stage = Stage(make_run([], details=details)).start()
    for attempt, delay_s in ((1, 10), (2, 20)):
        stage.end("a", "failed", "error")
        assert stage.states == {"a": "retrying"}
        assert stage.timers[-1].at - stage.now == dt.timedelta(seconds=delay_s)
        stage.decide(machine.retry_due, 0, attempt)
        stage.hand_out_all()
    stage.end("a", "failed", "error")
    assert stage.states == {"a": "failed"}
    assert stage.task("a").row.attempt == 3


def test_an_invalid_input_is_never_retried() -> None:
    details = {"a": {"retries": 5, "retry_on": ["error", "invalid_input"]}}
    stage = Stage(make_run([], details=details)).start()
    stage.end("a", "failed", "invalid_input")
    assert stage.states == {"a": "failed"}


def test_three_losses_are_forgiven_and_the_fourth_is_quarantined() -> None:
    stage = Stage(make_run([], details={"a": {"retries": 0}})).start()
    for attempt in (1, 2, 3):
        stage.decide(machine.lose_attempt, 0, "the engine is gone")
        assert stage.states == {"a": "retrying"}
        stage.decide(machine.retry_due, 0, attempt)
        stage.hand_out_all()
    stage.decide(machine.lose_attempt, 0, "the engine is gone")
    assert stage.states == {"a": "failed"}
    assert stage.task("a").row.reason_code == "quarantined"


def test_what_a_stopped_engine_hands_back_counts_neither_as_failure_nor_as_loss() -> None:
    stage = Stage(make_run([], details={"a": {"retries": 0}})).start()
    for attempt in range(1, 8):
        outcome = structs.replace(ended(stage.attempt("a"), "failed", "lost"), is_handed_back=True)
        stage.decide(machine.attempt_ended, 0, outcome)
        row = stage.task("a").row
        assert (row.state, row.reason_code, row.n_losses, row.n_failures) == (
            "retrying", "lost", 0, 0,
        )  # fmt: skip
        assert row.not_before == stage.now
        stage.decide(machine.retry_due, 0, attempt)
        stage.hand_out_all()
    stage.end("a")
    assert stage.states == {"a": "succeeded"}


@pytest.mark.parametrize(
    ("reason", "n_losses", "state"), [("error", 0, "failed"), ("killed", 1, "retrying")]
)
def test_only_what_is_lost_can_be_handed_back(reason: str, n_losses: int, state: str) -> None:
    stage = Stage(make_run([], details={"a": {"retries": 0}})).start()
    outcome = structs.replace(ended(stage.attempt("a"), "failed", reason), is_handed_back=True)
    stage.decide(machine.attempt_ended, 0, outcome)
    assert (stage.task("a").row.n_losses, stage.states["a"]) == (n_losses, state)


def test_a_success_after_the_cancel_is_stale_and_the_run_waits_for_the_dead() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.decide(machine.attempt_started, 0, ended("r1.0.1"))
    assert stage.decide(machine.cancel_run) == "applied"
    assert stage.kills == ["r1.0.1"]
    assert set(stage.states.values()) == {"cancelled"}
    assert stage.run.state is RunState.CANCELLING
    assert stage.decide(machine.cancel_run) == "repeated"
    assert stage.end("a") == "stale"
    assert stage.run.state is RunState.CANCELLED
    assert stage.task("a").outputs is None


def test_a_cancelled_run_does_not_wait_for_ever() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.decide(machine.cancel_run)
    stage.decide(machine.cancel_overdue)
    assert stage.run.state is RunState.CANCELLED


def test_a_paused_run_hands_nothing_out_until_it_is_resumed() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.decide(machine.pause_run)
    assert stage.run.state is RunState.PAUSING
    outcome = ended("r1.0.1")
    stage.decide(machine.attempt_ended, 0, outcome)
    assert stage.run.state is RunState.PAUSED
    stage.waiting.clear()
    assert stage.decide(machine.resume_run) == "applied"
    stage.hand_out_all()
    assert stage.states["b"] == stage.states["c"] == "queued"


def test_cancelling_one_task_fails_what_depends_on_it() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.end("a")
    assert stage.decide(machine.cancel_task, "b") == "applied"
    assert stage.decide(machine.cancel_task, "b") == "repeated"
    assert stage.decide(machine.cancel_task, "a") == "impossible"
    assert stage.decide(machine.cancel_task, "nobody") == "impossible"
    stage.end("c")
    assert stage.states["d"] == "upstream_failed"
    assert stage.run.state is RunState.FAILED


def test_a_success_without_its_outputs_is_an_invalid_output() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    outcome = ended("r1.0.1")
    stage.decide(
        machine.attempt_ended,
        0,
        type(outcome)(attempt_id="r1.0.1", kind="ended", state="succeeded"),
    )
    assert stage.task("a").row.reason_code == "invalid_output"


def test_the_backstop_ends_what_its_executor_forgot() -> None:
    stage = Stage(make_run([], details={"a": {"timeout_s": 5.0}})).start()
    stage.decide(machine.attempt_started, 0, ended("r1.0.1"))
    assert stage.timers[-1].at - stage.now == dt.timedelta(seconds=35)
    stage.decide(machine.timeout_overdue, 0, 1)
    assert stage.task("a").row.reason_code == "timeout"
    assert stage.kills == ["r1.0.1"]


def test_a_clock_set_back_does_not_put_a_retry_off_for_days() -> None:
    run = make_run([], details={"a": {"retries": 1, "retry_on": ["error"]}})
    stage = Stage(run).start()
    stage.end("a", "failed", "error")
    stage.now -= dt.timedelta(days=3)
    plan = run.tasks[0].plan
    longest = dt.timedelta(seconds=1.25 * plan.retry_delay_s)
    stage.decide(machine.resume_after_takeover)
    assert dt.timedelta(0) < stage.timers[-1].at - stage.now <= longest
    stage.decide(machine.pause_run)
    stage.decide(machine.resume_run)
    assert dt.timedelta(0) < stage.timers[-1].at - stage.now <= longest


@pytest.mark.parametrize("ahead", [dt.timedelta(0), dt.timedelta(days=3)])
def test_no_clock_puts_the_backstop_off_for_days(ahead: dt.timedelta) -> None:
    stage = Stage(make_run([], details={"a": {"timeout_s": 5.0}})).start()
    begin = Outcome(attempt_id="r1.0.1", kind="started", started_at=stage.now + ahead)
    stage.decide(machine.attempt_started, 0, begin)
    assert stage.timers[-1].at - stage.now == dt.timedelta(seconds=35)
    stage.now -= dt.timedelta(days=3)
    stage.decide(machine.resume_after_takeover)
    assert stage.timers[-1].at - stage.now == dt.timedelta(seconds=35)


def _replay(events) -> dict:
    states: dict = {}
    for event in events:
        assert states.get(event.operator, "pending") == event.from_state
        states[event.operator] = event.to_state
    return states


@pytest.mark.parametrize("seed", range(300))
def test_random_histories_end_and_their_events_replay_to_the_stored_states(seed: int) -> None:
    chance = random.Random(seed)
    n = chance.randint(1, 12)
    edges = [(f"t{i}", f"t{j}") for j in range(n) for i in range(j) if chance.random() < 0.3]
    details: dict[str, dict] = {
        f"t{i}": {
            "retries": chance.randint(0, 2),
            "retry_on": chance.choice([["error"], ["lost", "killed"]]),
            "on_failure": chance.choice(["stop", "continue"]),
        }
        for i in range(n)
    }
    for i in range(0, n - 1, 3):
        if chance.random() < 0.5:
            details[f"t{i}"]["alternative"] = f"spare{i}"
            details[f"spare{i}"] = {}
    stage = Stage(make_run(edges, details=details)).start()
    succeeded_before: dict[str, int] = {}
    for _ in range(500):
        if stage.run.state in FINAL_RUN_STATES:
            break
        _act(stage, chance)
        _check_upstreams(stage.run)
        seen = Counter(task.plan.operator for task in stage.run.tasks if task.outputs is not None)
        assert succeeded_before.keys() <= seen.keys()
        succeeded_before = dict(seen)
    else:
        stage.decide(machine.cancel_run)
        stage.decide(machine.cancel_overdue)
    assert stage.run.state in FINAL_RUN_STATES
    events = [event for out in stage.decisions for event in out.batch.events]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    replayed = _replay(events)
    assert replayed.pop(None) == stage.run.state
    assert {**dict.fromkeys(stage.states, "pending"), **replayed} == stage.states
    counts = Counter(stage.states.values())
    assert {k: v for k, v in stage.run.row.counts.items() if v} == dict(counts)
    assert stage.run.n_unfinished == 0
    moves = {(event.from_state, event.to_state) for event in events if event.kind == "task"}
    assert moves <= {(str(source), str(target)) for (source, _), target in TASK_MOVES.items()}


def _check_upstreams(run: LiveRun) -> None:
    for task in run.tasks:
        if task.state in (TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCEEDED):
            for source in task.plan.upstream:
                found = provider(run, source)
                assert found is not None
                assert found.outputs is not None


def _act(stage: Stage, chance: random.Random) -> None:
    run = stage.run
    index = chance.randrange(len(run.tasks))
    task = run.tasks[index]
    action = chance.random()
    if action < 0.55:
        state, reason = chance.choice(
            [("succeeded", "")] * 5 + [("failed", "error"), ("failed", "lost"), ("cancelled", "")]
        )
        stage.decide(
            machine.attempt_ended, index, ended(stage.attempt(task.plan.operator), state, reason)
        )
    elif action < 0.7:
        stage.decide(machine.attempt_started, index, ended(stage.attempt(task.plan.operator)))
    elif action < 0.85:
        for timer in [timer for timer in stage.timers if timer.kind == "retry"]:
            stage.decide(machine.retry_due, timer.index, timer.attempt)
    elif action < 0.86:
        stage.decide(machine.cancel_task, task.plan.operator)
    elif action < 0.87:
        stage.decide(machine.cancel_run)
        stage.decide(machine.cancel_overdue)
    else:
        stage.decide(chance.choice([machine.pause_run, machine.resume_run]))
    if run.may_start:
        stage.hand_out_all()


def test_a_batch_tells_of_which_runs_only_tasks_moved() -> None:
    stage = Stage(make_run([("a", "b")])).start()
    start, *_ = stage.decisions
    assert (set(start.batch.runs), start.batch.counted_runs) == ({stage.run.run_id}, set())
    stage.end("a")
    end = next(
        out
        for out in stage.decisions
        if ("a" in {e.operator for e in out.batch.events if e.to_state == "succeeded"})
    )
    assert end.batch.counted_runs == {stage.run.run_id}
    stage.end("b")
    last = next(
        out
        for out in stage.decisions
        if any(e.kind == "run" and e.to_state == "succeeded" for e in out.batch.events)
    )
    assert last.batch.counted_runs == set()


def test_of_a_long_sentence_about_progress_the_beginning_is_kept() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    told = Progress(done=1, total=2, message="x" * 1_000_000)
    outcome = Outcome(attempt_id="r1.0.1", kind="progress", progress=told)
    assert stage.decide(machine.attempt_started, 0, outcome) == "applied"
    progress = stage.task("a").row.progress
    assert progress == {"done": 1, "total": 2, "message": "x" * machine.LONGEST_SENTENCE}


def test_the_late_end_of_an_attempt_that_was_given_up_is_stale() -> None:
    stage = Stage(make_run([], details={"a": {}})).start()
    stage.decide(machine.lose_attempt, 0, "Its operator engine is gone.")
    assert stage.states == {"a": "retrying"}
    assert stage.decide(machine.attempt_ended, 0, ended("r1.0.1")) == "stale"
    assert stage.states == {"a": "retrying"}
    stage.decide(machine.retry_due, 0, 1)
    former = Former("r0", 0, "a", 1, [ArtifactRef(type="report", inline={})])
    stage.decide(_serve_former, former)
    assert stage.states == {"a": "succeeded"}
    assert stage.decide(machine.attempt_ended, 0, ended("r1.0.1")) == "stale"


def _serve_former(run: LiveRun, former: Former, out: Decision) -> None:
    machine.serve_former(run, run.tasks[0], former, out)


def test_an_attempt_that_no_engine_takes_fails_and_is_killed_wherever_it_is() -> None:
    stage = Stage(make_run(DIAMOND)).start()
    stage.decide(machine.refuse_attempt, 0, "413")
    assert stage.task("a").row.reason_code == "error"
    assert stage.kills == ["r1.0.1"]
    assert stage.run.state is RunState.FAILED


@pytest.mark.parametrize(
    ("state", "reason", "message", "found"),
    [
        ("failed", "out_of_memory", "too much", ("out_of_memory", "too much")),
        ("failed", "", "too much", ("error", "too much")),
        ("failed", "boom", "too much", ("error", "boom: too much")),
        ("failed", "boom" * 1000, "", ("error", "boom" * 25)),
        ("succeeded", "boom", "", ("", "")),
    ],
)
def test_a_reason_that_is_none_becomes_an_error_and_stays_in_the_message(
    state: str, reason: str, message: str, found: tuple[str, str]
) -> None:
    stage = Stage(make_run([], details={"a": {}})).start()
    outcome = structs.replace(ended("r1.0.1", state, reason), message=message)
    stage.decide(machine.attempt_ended, 0, outcome)
    [attempt] = stage.decisions[-1].batch.attempts.values()
    assert (attempt.reason_code, attempt.message) == found
