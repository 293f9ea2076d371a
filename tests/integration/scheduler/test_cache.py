"""The cache over the real scheduler, library and store, with an engine played by the test."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from dag_engine.config import DatabaseConfig, RetentionConfig
from dag_engine.scheduler import library, reuse
from dag_engine.scheduler.housekeeping import Housekeeper
from dag_engine.scheduler.library import StoredLibrary
from dag_engine.storage import reuse as stored
from dag_engine.storage import tasks
from dag_engine.storage.database import Database
from dag_engine.storage.rows import TaskRecord
from executors.base import ArtifactRef, InventoryItem, Outcome
from tests.support.engine_stand_in import EngineStandIn
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SchedulerRig, StartEngine, StartScheduler
from tests.support.stored_replay import replay_database
from tests.support.waiting import wait_until

MAY_BE_CACHED = {"work_base": "same", "seed": 7}


@pytest.fixture
def start(start_scheduler: StartScheduler, database: Database, tmp_path: Path) -> StartScheduler:
    """Start a scheduler with a library over the real database and store."""
    store_url = f"file://{tmp_path}/artifacts"

    def open_database() -> Database:
        return Database(database.url, DatabaseConfig(pool_size=1))

    return functools.partial(
        start_scheduler, open_library=functools.partial(StoredLibrary, open_database, store_url)
    )


def _end(tmp_path: Path, attempt_id: str, text: str = "made", **changes: Any) -> Outcome:
    """End an attempt that has left a file in its folder."""
    folder = tmp_path.joinpath("artifacts", "runs", *attempt_id.split("."))
    folder.mkdir(parents=True)
    path = folder / "0.bin"
    path.write_text(text)
    ref = ArtifactRef(
        type="file",
        uri=f"file://{path}",
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        size_bytes=len(text),
    )
    fields = {"has_read_seed": False, "metrics": {"auc": 0.5}, **changes}
    return Outcome(attempt_id=attempt_id, kind="ended", state="succeeded", outputs=[ref], **fields)


def _task(database: Database, run_id: str, operator: str = "a") -> TaskRecord:
    return tasks.get_task(database, "default", run_id, operator)


def _compute(rig: SchedulerRig, engine: EngineStandIn, tmp_path: Path, **changes: Any) -> str:
    """Run `b<a`, both by the engine."""
    run_id = rig.accept("a", "b<a", **{**MAY_BE_CACHED, **changes})
    for index in range(2):
        engine.wait_for(f"{run_id}.{index}.1")
        engine.report(_end(tmp_path, f"{run_id}.{index}.1", f"made {index}"))
    rig.wait_state(run_id, "succeeded")
    return run_id


def test_equal_work_is_given_the_former_result(
    start: StartScheduler, start_engine: StartEngine, database: Database, tmp_path: Path
) -> None:
    rig = start()
    first = _compute(rig, start_engine(rig), tmp_path)
    second = rig.accept("a", "b<a", **{**MAY_BE_CACHED, "seed": 8})
    rig.wait_state(second, "succeeded")
    for operator in ("a", "b"):
        made, given = _task(database, first, operator), _task(database, second, operator)
        assert (given.state, given.reason_code, given.attempt) == ("succeeded", "cached", 0)
        assert [output.ref for output in given.outputs] == [output.ref for output in made.outputs]
        assert given.metrics == made.metrics == {"auc": 0.5}
        assert given.reason == f"{operator} of run {first} has made the same result before."
        finding = stored.get_finding(database, "default", second, given.index)
        assert finding is not None
        assert (finding.verdict, finding.source_run, finding.source_attempt) == ("hit", first, 1)
    assert rig.run(second).tasks == {"succeeded": 2}
    assert replay_database(database).problems == []


def test_a_new_scheduler_knows_what_the_former_one_kept(
    start: StartScheduler, start_engine: StartEngine, tmp_path: Path
) -> None:
    former = start()
    _compute(former, start_engine(former), tmp_path)
    former.close()
    rig = start()
    for _ in range(2):  # the keys are asked for first, and known from then on
        rig.wait_state(rig.accept("a", "b<a", **MAY_BE_CACHED), "succeeded")


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": "refresh"},
        {"cache": "off"},
        {"work_base": "other"},
        {"work_base": ""},
        {"namespace": "another"},
    ],
)
def test_other_work_and_other_wishes_are_computed(
    start: StartScheduler, start_engine: StartEngine, tmp_path: Path, changes: dict[str, Any]
) -> None:
    rig = start()
    engine = start_engine(rig)
    _compute(rig, engine, tmp_path)
    engine.wait_for(f"{rig.accept('a', **{**MAY_BE_CACHED, **changes})}.0.1")


def test_what_hangs_on_its_seed_is_given_to_the_same_seed_only(
    start: StartScheduler, start_engine: StartEngine, tmp_path: Path
) -> None:
    rig = start()
    engine = start_engine(rig)
    first = rig.accept("a", **MAY_BE_CACHED)
    engine.wait_for(f"{first}.0.1")
    engine.report(_end(tmp_path, f"{first}.0.1", has_read_seed=True))
    rig.wait_state(first, "succeeded")
    rig.wait_state(rig.accept("a", **MAY_BE_CACHED), "succeeded")
    engine.wait_for(f"{rig.accept('a', **{**MAY_BE_CACHED, 'seed': 8})}.0.1")


@pytest.mark.parametrize("damage", ["deleted", "cut short", "a link"])
def test_what_is_not_as_it_was_stored_is_made_again(
    start: StartScheduler,
    start_engine: StartEngine,
    database: Database,
    tmp_path: Path,
    damage: str,
) -> None:
    rig = start()
    engine = start_engine(rig)
    first = _compute(rig, engine, tmp_path)
    path = tmp_path / "artifacts" / "runs" / first / "0" / "1" / "0.bin"
    path.unlink()
    if damage == "cut short":
        path.write_text("made")
    elif damage == "a link":
        path.symlink_to(tmp_path / "elsewhere")

    second = rig.accept("a", "b<a", **MAY_BE_CACHED)

    engine.wait_for(f"{second}.0.1")
    finding = stored.get_finding(database, "default", second, 0)
    assert finding is not None
    assert (finding.verdict, finding.source_run) == ("gone", first)
    assert str(path) in finding.detail
    engine.report(_end(tmp_path, f"{second}.0.1", "made 0"))
    assert rig.wait_state(second, "succeeded").tasks == {"succeeded": 2}
    assert _task(database, second, "b").reason_code == "cached", "what comes in is the same"
    third = rig.accept("a", **MAY_BE_CACHED)
    rig.wait_state(third, "succeeded")
    assert f"run {second}" in _task(database, third).reason, "the new one has taken its place"


def test_two_live_runs_compute_once(
    start: StartScheduler, start_engine: StartEngine, database: Database, tmp_path: Path
) -> None:
    rig = start()
    engine = start_engine(rig)
    first = rig.accept("a", **MAY_BE_CACHED)
    engine.wait_for(f"{first}.0.1")
    second = rig.accept("a", **MAY_BE_CACHED)
    rig.wait_task(second, "a", "ready")
    assert _task(database, second).reason_code == "same_work"
    engine.report(_end(tmp_path, f"{first}.0.1"))
    rig.wait_state(second, "succeeded")
    assert _task(database, second).reason_code == "cached"
    assert replay_database(database).problems == []


@pytest.mark.parametrize("fate", ["failed", "cancelled", "lost"])
def test_whoever_waits_goes_on_where_the_first_does_not_end_well(
    start: StartScheduler, start_engine: StartEngine, tmp_path: Path, fate: str
) -> None:
    rig = start()
    engine = start_engine(rig)
    first = rig.accept("a", **MAY_BE_CACHED)
    engine.wait_for(f"{first}.0.1")
    second = rig.accept("a", **MAY_BE_CACHED)
    rig.wait_task(second, "a", "ready")
    if fate == "failed":
        engine.report(ended(f"{first}.0.1", "failed", "error"))
    elif fate == "cancelled":
        rig.command(first, "cancel")
    else:
        engine.report(Outcome(attempt_id=f"{first}.0.1", kind="started"))
        engine.incarnation = "second"
        engine.register()
        # The first is tried again as well; whichever comes first, the other waits for it.
        attempts = {f"{first}.0.2", f"{second}.0.1"}
        wait_until(lambda: attempts & engine.items.keys(), 10, lambda: str(engine.items))
        [held] = attempts & engine.items.keys()
        engine.report(_end(tmp_path, held))
        for run_id in (first, second):
            rig.wait_state(run_id, "succeeded")
        return
    engine.wait_for(f"{second}.0.1")


def test_a_successor_lets_who_waited_wait_on(
    start: StartScheduler, start_engine: StartEngine, database: Database, tmp_path: Path
) -> None:
    former = start()
    engine = start_engine(former)
    first = former.accept("a", **MAY_BE_CACHED)
    engine.wait_for(f"{first}.0.1")
    second = former.accept("a", **MAY_BE_CACHED)
    former.wait_task(second, "a", "ready")
    former.close()
    rig = start()
    again = start_engine(rig, inventory=[InventoryItem(attempt_id=f"{first}.0.1", stage="started")])
    again.items |= engine.items
    rig.hint()
    assert _task(database, second).state == "ready"
    again.report(_end(tmp_path, f"{first}.0.1"))
    rig.wait_state(second, "succeeded")
    assert _task(database, second).reason_code == "cached"


def test_a_library_that_is_silent_holds_nothing_up(
    start: StartScheduler,
    start_engine: StartEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "PATIENCE_S", 0.2)
    stuck = threading.Event()
    rig = start()
    engine = start_engine(rig)
    _compute(rig, engine, tmp_path)
    look = stored.find_fault

    def hang(*arguments: Any) -> str:
        assert stuck.wait(30)
        return look(*arguments)

    monkeypatch.setattr(library.stored, "find_fault", hang)
    second = rig.accept("a", **MAY_BE_CACHED)
    engine.wait_for(f"{second}.0.1")
    stuck.set()
    engine.report(_end(tmp_path, f"{second}.0.1"))
    rig.wait_state(second, "succeeded")

    def is_cached() -> bool:
        run_id = rig.accept("a", **MAY_BE_CACHED)
        wait_until(lambda: rig.task_states(run_id)["a"] in ("queued", "succeeded"))
        return rig.task_states(run_id)["a"] == "succeeded"

    wait_until(is_cached, 10, lambda: "the library is asked no more")


def test_an_error_of_the_library_is_an_answer(
    start: StartScheduler,
    start_engine: StartEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = start()
    engine = start_engine(rig)
    _compute(rig, engine, tmp_path)

    def fail(*_: Any) -> str:
        raise RuntimeError("a driver of a store")

    monkeypatch.setattr(library.stored, "find_fault", fail)
    engine.wait_for(f"{rig.accept('a', **MAY_BE_CACHED)}.0.1")


def test_retention_keeps_what_others_were_given(
    start: StartScheduler, start_engine: StartEngine, database: Database, tmp_path: Path
) -> None:
    rig = start()
    engine = start_engine(rig)
    first = _compute(rig, engine, tmp_path)
    alone = _compute(rig, engine, tmp_path, work_base="other")
    second = rig.accept("a", "b<a", **MAY_BE_CACHED)
    rig.wait_state(second, "succeeded")
    policy = RetentionConfig(artifacts_days=1)
    keeper = Housekeeper(database, f"file://{tmp_path}/artifacts", policy)
    # A day after the second run was accepted, that one is kept, and what came before it is old.
    keeper.tidy(rig.run(second).created_at + dt.timedelta(days=1))
    runs = tmp_path / "artifacts" / "runs"
    assert (runs / first / "0" / "1" / "0.bin").exists()
    assert not (runs / alone).exists()
