"""Former results: found under their keys, and held on to against the policy of retention."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dag_engine.core.changes import ArtifactRow, Batch, EntryRow, Former, TaskRow
from dag_engine.storage import expiry, reuse
from dag_engine.storage.database import Database
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import ArtifactRef
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_ref,
    make_run_row,
)


def _make(database: Database, leader: SchedulerStore, key: str = "k", n_ports: int = 1) -> str:
    """Let a run end whose first task has made the result that is known by a key."""
    run_id = accept_sample_run(database, n_tasks=1).id
    leader.commit(make_full_batch(run_id))
    batch = Batch(runs={run_id: make_run_row(run_id, "succeeded", ended_at=MOMENT)})
    for port in range(1, n_ports):
        ref = make_ref(uri=f"file:///store/{port}")
        batch.artifacts.append(ArtifactRow(run_id, 0, port, 1, ref))
    batch.entries["default", key] = EntryRow("default", key, run_id, 0, 1, MOMENT)
    leader.commit(batch)
    return run_id


def _find(database: Database, *keys: str) -> dict[str, Former]:
    found = reuse.find_entries(database, [("default", key) for key in keys])
    return {key: former for (_, key), former in found.items()}


def _expire(database: Database, *run_ids: str) -> list[str]:
    return expiry.expire(database, run_ids, "results")


def test_a_result_is_found_with_all_that_it_left(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = _make(database, leader, n_ports=3)
    found = _find(database, "k", "unknown")
    assert found.keys() == {"k"}
    former = found["k"]
    assert (former.run_id, former.index, former.operator, former.attempt) == (
        run_id, 0, "算子_0", 1,
    )  # fmt: skip
    assert former.metrics == {"auc": 0.75}
    assert [ref.uri for ref in former.outputs[1:]] == ["file:///store/1", "file:///store/2"]
    assert reuse.find_entries(database, [("another", "k")]) == {}


def test_the_newest_result_holds(database: Database, leader: SchedulerStore) -> None:
    _make(database, leader)
    newest = _make(database, leader)
    assert _find(database, "k")["k"].run_id == newest
    assert reuse.load_known_keys(database, 10) is not None
    assert reuse.load_known_keys(database, 1) is None


def test_many_keys_are_asked_for_at_once(database: Database, leader: SchedulerStore) -> None:
    run_id = _make(database, leader)
    batch = Batch()
    for number in range(450):
        row = EntryRow("default", f"k{number}", run_id, 0, 1, MOMENT)
        batch.entries["default", row.key] = row
    leader.commit(batch)
    assert len(_find(database, *(f"k{number}" for number in range(500)))) == 450


def test_what_another_attempt_made_by_now_is_not_found(
    database: Database, leader: SchedulerStore
) -> None:
    run_id = _make(database, leader)
    row = TaskRow(run_id, 0, "算子_0", "succeeded", "ran", attempt=2)
    leader.commit(Batch(tasks={(run_id, 0): row}))
    assert _find(database, "k") == {}


def test_results_that_are_held_do_not_expire(database: Database, leader: SchedulerStore) -> None:
    source, other = _make(database, leader), _make(database, leader, "other")
    user = accept_sample_run(database, n_tasks=1).id
    pair = {(user, source)}
    assert reuse.hold_sources(database, "default", pair) == pair
    assert reuse.hold_sources(database, "default", pair) == pair, "twice is once"

    assert _expire(database, source, other) == [other]
    assert _find(database, "other") == {}, "nobody is handed a reference to it"
    assert reuse.hold_sources(database, "default", {(user, other)}) == set()
    assert reuse.hold_sources(database, "default", {(user, "r-unknown")}) == set()
    assert reuse.hold_sources(database, "another", {(user, source)}) == set()

    moment = dt.datetime.now(dt.UTC)
    leader.commit(Batch(runs={user: make_run_row(user, "succeeded", ended_at=moment)}))
    assert _expire(database, user) == [user]
    assert _expire(database, source) == [source], "what has expired itself needs nothing any more"


def test_whoever_is_gone_holds_nothing(database: Database, leader: SchedulerStore) -> None:
    source = _make(database, leader)
    reuse.hold_sources(database, "default", {("r0000000000000000000", source)})
    assert _expire(database, source) == [source]


@pytest.mark.parametrize("is_held_first", [True, False])
def test_hold_and_mark_wait_for_each_other(
    database: Database,
    leader: SchedulerStore,
    monkeypatch: pytest.MonkeyPatch,
    is_held_first: bool,
) -> None:
    """Whichever comes first keeps the other waiting at the row, and the other sees it."""
    source = _make(database, leader)
    user = accept_sample_run(database, n_tasks=1).id
    inside, go_on, done = threading.Event(), threading.Event(), []

    def hold() -> bool:
        return bool(reuse.hold_sources(database, "default", {(user, source)}))

    def mark() -> bool:
        return _expire(database, source) == [source]

    def pause(function: Callable[..., object]) -> Callable[..., object]:
        def paused(*arguments: object) -> object:
            result = function(*arguments)
            inside.set()
            assert go_on.wait(20)
            return result

        return paused

    if is_held_first:
        monkeypatch.setattr(reuse, "lock_kept", pause(expiry.lock_kept))
    else:
        monkeypatch.setattr(expiry, "find_needed", pause(expiry.find_needed))
    first, second = (hold, mark) if is_held_first else (mark, hold)
    threads = [threading.Thread(target=lambda: done.append(("first", first())))]
    threads[0].start()
    assert inside.wait(20)
    threads.append(threading.Thread(target=lambda: done.append(("second", second()))))
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive(), "it waits for the first"
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert dict(done) == {"first": True, "second": False}


def test_an_artifact_that_is_not_as_it_was_stored_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store" / "0.arrow"
    path.parent.mkdir()
    path.write_bytes(b"1234567")
    ref = ArtifactRef(type="table", uri=f"file://{path}", sha256="ab" * 32, size_bytes=7)
    store_url = f"file://{path.parent}"

    def fault(*refs: ArtifactRef) -> str:
        return reuse.find_fault(Former("r1", 0, "a", 1, list(refs)), store_url)

    assert fault(ref) == ""
    assert fault(ArtifactRef(type="report", inline={"auc": 1})) == ""
    assert "is gone" in fault(ref, ArtifactRef(type="table", uri=f"file://{path}.no", size_bytes=7))
    path.write_bytes(b"12345678")
    assert "8 bytes; 7 were stored" in fault(ref)
    fitted = {"type": "table", "uri": f"file://{path}", "size_bytes": 7, "sha256": "ab" * 32}
    model = ArtifactRef(type="model", inline={}, meta={"fitted_on": fitted})
    assert "7 were stored" in fault(model), "a model comes with the table that it was fitted on"


def test_a_store_elsewhere_is_asked_for_the_size() -> None:
    import fsspec

    filesystem = fsspec.filesystem("memory")
    filesystem.pipe("/cache-store/runs/0.parquet", b"1234567")
    ref = ArtifactRef(
        type="table", uri="memory://cache-store/runs/0.parquet", sha256="ab" * 32, size_bytes=7
    )

    def fault(ref: ArtifactRef) -> str:
        return reuse.find_fault(Former("r1", 0, "a", 1, [ref]), "memory://cache-store")

    assert fault(ref) == ""
    filesystem.pipe("/cache-store/runs/0.parquet", b"1")
    assert "1 bytes; 7 were stored" in fault(ref)
    filesystem.rm("/cache-store/runs/0.parquet")
    assert "is gone" in fault(ref)


def test_the_row_of_a_run_that_goes_on_is_left_to_the_scheduler(
    database: Database, leader: SchedulerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is stopped in the middle of a hold must not keep the scheduler from its commit."""
    source = accept_sample_run(database, n_tasks=1).id
    user = accept_sample_run(database, n_tasks=1).id
    inside, go_on = threading.Event(), threading.Event()

    def pause(*arguments: object) -> object:
        result = expiry.lock_kept(*arguments)
        inside.set()
        assert go_on.wait(20)
        return result

    monkeypatch.setattr(reuse, "lock_kept", pause)
    thread = threading.Thread(
        target=reuse.hold_sources, args=(database, "default", {(user, source)})
    )
    thread.start()
    assert inside.wait(20)
    if database.dialect == "sqlite":
        go_on.set()  # there is one writer at a time, whatever the row
    leader.commit(Batch(runs={source: make_run_row(source, "running")}))
    go_on.set()
    thread.join(20)
    assert not thread.is_alive()
