"""Retention on real databases and files: what goes, what stays, and what a kill leaves."""

from __future__ import annotations

import datetime as dt
import functools
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dag_engine.config import RetentionConfig
from dag_engine.core.changes import AttemptRow, Batch
from dag_engine.core.plan import Plan, Reused
from dag_engine.scheduler import housekeeping
from dag_engine.scheduler.housekeeping import (
    CarefulCalendar,
    Housekeeper,
    HousekeepingThread,
)
from dag_engine.storage import expiry, idempotency, runs
from dag_engine.storage import leader as stored_leader
from dag_engine.storage.database import Database
from dag_engine.storage.rows import IdempotencyKey
from tests.support.databases import DIALECTS, fresh_mysql_url, open_migrated, sqlite_url
from tests.support.services import ROOT
from tests.support.stored_samples import (
    MOMENT,
    accept_sample_run,
    make_full_batch,
    make_plan,
    make_run_row,
    make_store,
)
from tests.support.waiting import wait_until

LATER = dt.timedelta(days=100)


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    with fresh_mysql_url() as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_migrated(url)
    yield opened
    opened.close()


@pytest.fixture
def old_run(database: Database, tmp_path: Path) -> Callable[..., str]:
    """Make a run that is over, with files of a result, of a lost attempt and of a log."""

    def make(base: str = "", *, is_over: bool = True) -> str:
        changes: dict[str, Any] = {}
        if base:
            reused = [Reused(operator="b", run_id=base, attempt=1, outputs=[])]
            changes = {"plan": Plan(tasks=make_plan(2).tasks, reused=reused), "range_mode": "from"}
        run_id = accept_sample_run(database, **changes).id
        store = make_store(database, "played")
        store.try_lead()
        batch = make_full_batch(run_id)
        batch.attempts[run_id, 1, 1] = AttemptRow(run_id, 1, 1, "failed", "e", queued_at=MOMENT)
        store.commit(batch)
        if is_over:
            ended = dt.datetime.now(dt.UTC)
            store.commit(Batch(runs={run_id: make_run_row(run_id, "failed", ended_at=ended)}))
        store.resign()
        store.close()
        for name in (f"runs/{run_id}/0/1/0.arrow", f"runs/{run_id}/1/1/0.arrow", _log(run_id)):
            path = tmp_path / "store" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        return run_id

    return make


def _log(run_id: str) -> str:
    return f"logs/{run_id}/0.1.log"


def _files(tmp_path: Path, run_id: str) -> set[str]:
    store = tmp_path / "store"
    return {
        str(path.relative_to(store)).replace(run_id, "R")
        for path in store.rglob("*")
        if path.is_file() and run_id in str(path)
    }


RESULT, LOSER, LOG = "runs/R/0/1/0.arrow", "runs/R/1/1/0.arrow", "logs/R/0.1.log"


def _keep(database: Database, tmp_path: Path, **policy: Any) -> Housekeeper:
    given = {"orphans_days": None, "keys_days": None, **policy}
    return Housekeeper(database, f"file://{tmp_path}/store", RetentionConfig(**given))


def _later() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + LATER


def test_by_default_only_what_brought_no_result_is_removed(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    run_id, live = old_run(), old_run(is_over=False)
    keeper = Housekeeper(database, f"file://{tmp_path}/store", RetentionConfig())
    assert keeper.tidy().n_orphans == 0, "not yet: it may still be written"
    tidied = keeper.tidy(_later())
    assert (tidied.n_runs, tidied.n_results, tidied.n_logs, tidied.n_orphans) == (0, 0, 0, 1)
    assert _files(tmp_path, run_id) == {RESULT, LOG}
    assert _files(tmp_path, live) == {RESULT, LOSER, LOG}
    assert keeper.tidy(_later()).n_orphans == 0


def test_results_and_logs_go_by_their_own_ages_and_the_record_stays(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    run_id, live = old_run(), old_run(is_over=False)
    keeper = _keep(database, tmp_path, artifacts_days=200)
    assert keeper.tidy(_later()).n_results == 0
    keeper = _keep(database, tmp_path, artifacts_days=50)
    assert keeper.tidy(_later()).n_results == 1
    assert _files(tmp_path, run_id) == {LOG}
    assert expiry.is_expired(database, "default", run_id, "results")
    assert not expiry.is_expired(database, "default", run_id, "logs")
    assert _keep(database, tmp_path, logs_days=50).tidy(_later()).n_logs == 1
    assert _files(tmp_path, run_id) == set()
    assert runs.get_run(database, "default", run_id).state == "failed"
    assert keeper.tidy(_later()).n_results == 0
    assert _files(tmp_path, live) == {RESULT, LOSER, LOG}


def test_results_that_others_stand_on_are_kept_until_nobody_does(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    base = old_run()
    child = old_run(base, is_over=False)
    for policy in ({"artifacts_days": 1}, {"runs_days": 1}):
        tidied = _keep(database, tmp_path, **policy).tidy(_later())
        assert (tidied.n_results, tidied.n_runs, tidied.n_kept) == (0, 0, 1)
        assert _files(tmp_path, base) == {RESULT, LOSER, LOG}
    grandchild = old_run(base)
    tidied = _keep(database, tmp_path, runs_days=1).tidy(_later())
    assert (tidied.n_runs, tidied.n_kept) == (1, 1)
    assert set(runs.count_runs(database)) == {"failed", "running"}
    assert _files(tmp_path, grandchild) == set()
    assert runs.get_run(database, "default", child).state == "running"


def test_dry_run_counts_and_changes_nothing(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    base = old_run()
    old_run(base, is_over=False)
    other = old_run()
    keeper = _keep(database, tmp_path, runs_days=1)
    keeper.is_dry = True
    tidied = keeper.tidy(_later())
    assert (tidied.n_runs, tidied.n_kept) == (1, 1)
    assert _files(tmp_path, other) == {RESULT, LOSER, LOG}
    assert expiry.find_unpurged(database) == []


def test_keys_and_reports_are_forgotten_no_later_than_the_runs_they_speak_of(
    database: Database, tmp_path: Path
) -> None:
    key = IdempotencyKey("k", "start_run", "0")
    accept_sample_run(database, idempotency_key=key)
    assert _keep(database, tmp_path, keys_days=200).tidy(_later()).n_keys == 0
    assert _keep(database, tmp_path, keys_days=200, runs_days=50).tidy(_later()).n_keys == 1


KILLED = """
    import datetime as dt, os, signal, sys
    from dag_engine.config import DatabaseConfig, RetentionConfig
    from dag_engine.scheduler import housekeeping
    from dag_engine.storage import expiry
    from dag_engine.storage.database import Database

    url, store, point, policy = sys.argv[1:]
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    if point == "after the mark":
        housekeeping.remove_folder = die
    elif point == "after the files":
        expiry.note_purged = expiry.delete_runs = die
    else:
        expiry._ROWS_AT_ONCE = 1
        delete_some, n = expiry._delete_some, []
        def some(*arguments):
            n.append(1)
            return die() if len(n) == 3 else delete_some(*arguments)
        expiry._delete_some = some
    database = Database(url, DatabaseConfig(url=url))
    policy = RetentionConfig(orphans_days=None, keys_days=None, **{policy: 1})
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=100)
    housekeeping.Housekeeper(database, store, policy).tidy(later)
"""


@pytest.mark.parametrize(
    ("point", "policy"),
    [
        ("after the mark", "runs_days"),
        ("after the files", "runs_days"),
        ("among the rows", "runs_days"),
        ("after the mark", "artifacts_days"),
        ("after the files", "artifacts_days"),
    ],
)
def test_what_a_kill_broke_off_is_taken_up_and_never_handed_out(
    database: Database,
    url: str,
    tmp_path: Path,
    old_run: Callable[..., str],
    point: str,
    policy: str,
) -> None:
    run_id, store = old_run(), f"file://{tmp_path}/store"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), url, store, point, policy],
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == -signal.SIGKILL
    assert expiry.is_expired(database, "default", run_id, "results"), (
        "marked before anything is gone"
    )
    tidied = _keep(database, tmp_path, **{policy: 1}).tidy(_later())
    assert _files(tmp_path, run_id) <= ({LOG} if policy == "artifacts_days" else set())
    if policy == "runs_days":
        assert tidied.n_runs == 1
        assert runs.count_runs(database) == {}
    assert expiry.find_unpurged(database) == []


def test_the_thread_tidies_while_it_leads_and_outlives_a_database_that_is_away(
    url: str, database: Database, tmp_path: Path, old_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run_id = old_run()
    is_leader, asked = [False], []
    policy = RetentionConfig(runs_days=1e-9, every_s=0.05, orphans_days=None)
    tidy, n_passes = Housekeeper.tidy, []

    def count(self: Housekeeper) -> Any:
        n_passes.append(1)
        if len(n_passes) == 1:
            raise OSError("the disk is away")
        return tidy(self)

    def is_leading() -> bool:
        asked.append(1)
        return is_leader[0]

    monkeypatch.setattr(Housekeeper, "tidy", count)
    thread = HousekeepingThread(
        lambda: open_migrated(url), f"file://{tmp_path}/store", policy, is_leading
    )
    thread.start()
    wait_until(lambda: len(asked) > 2, 20)
    assert runs.get_run(database, "default", run_id)
    assert not n_passes
    is_leader[0] = True
    wait_until(lambda: not runs.count_runs(database), 20)
    wait_until(
        lambda: any(
            one.kind == housekeeping.KIND and one.detail["n_keys"] == 0
            for one in stored_leader.list_components(database)
        ),
        20,
    )
    thread.stop()


def test_nothing_is_deleted_since_a_clock_was_set_forward(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    """Neither the scheduler's clock alone is believed, nor one that has only just been set."""
    run_id = old_run()
    keeper = _keep(database, tmp_path, runs_days=50)
    keeper.read_calendar = _later
    assert keeper.tidy().n_runs == 0, "the database knows better"
    assert runs.get_run(database, "default", run_id)


def test_a_clock_set_forward_is_believed_after_a_day() -> None:
    wall, uptime_s = [MOMENT], [0.0]
    calendar = CarefulCalendar(lambda: wall[0], lambda: uptime_s[0])

    def pass_time(hours: float, jump: dt.timedelta = dt.timedelta()) -> None:
        uptime_s[0] += 3600 * hours
        wall[0] += dt.timedelta(hours=hours) + jump

    pass_time(48)
    assert calendar.read() == wall[0], "nothing but time went by"
    year = dt.timedelta(days=365)
    pass_time(1, year)
    assert calendar.read() == wall[0] - year
    pass_time(1, -year)
    assert calendar.read() == wall[0], "it was mended"
    pass_time(1, -year)
    assert calendar.read() == wall[0], "to delete less is never wrong"
    pass_time(1, year)
    assert calendar.read() == wall[0] - year
    pass_time(23)
    assert calendar.read() == wall[0] - year
    pass_time(1)
    assert calendar.read() == wall[0]
    pass_time(1)
    assert calendar.read() == wall[0]


def test_a_new_start_goes_on_where_former_passes_were(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    first = old_run()
    assert _keep(database, tmp_path, orphans_days=1).tidy(_later()).n_orphans == 1
    assert _keep(database, tmp_path).tidy(_later()).n_orphans == 0, "not asked for"
    assert _keep(database, tmp_path, orphans_days=1).tidy(_later()).n_orphans == 0
    assert _files(tmp_path, first) == {RESULT, LOG}


def test_a_pass_by_a_clock_that_was_mended_since_hides_nothing(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    keeper = _keep(database, tmp_path, orphans_days=1)
    keeper.tidy(_later() + LATER)
    run_id = old_run()
    assert keeper.tidy(_later()).n_orphans == 1
    assert _files(tmp_path, run_id) == {RESULT, LOG}


def test_what_many_runs_left_is_removed_in_pieces(
    database: Database,
    tmp_path: Path,
    old_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_ids = [old_run() for _ in range(3)]
    monkeypatch.setattr(expiry, "find_losers", functools.partial(expiry.find_losers, limit=1))
    assert _keep(database, tmp_path, orphans_days=1).tidy(_later()).n_orphans == 3
    assert all(_files(tmp_path, run_id) == {RESULT, LOG} for run_id in run_ids)


def _put_file_in_place_of(folder: Path) -> None:
    """Make a folder something that is not removed as one, whoever runs the test."""
    folder.rename(folder.with_name(f"{folder.name}-aside"))
    folder.write_text("no folder")


@pytest.mark.parametrize("policy", ["runs_days", "artifacts_days"])
def test_files_that_cannot_be_removed_stop_nothing_else_and_are_tried_again(
    database: Database,
    tmp_path: Path,
    old_run: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
    policy: str,
) -> None:
    stuck, other = old_run(), old_run()
    place = tmp_path / "store" / "runs" / stuck
    _put_file_in_place_of(place)
    keeper = _keep(database, tmp_path, **{policy: 50})
    for n_done in (1, 0):
        tidied = keeper.tidy(_later())
        if policy == "runs_days":
            assert tidied.n_runs == n_done
        assert tidied.n_failed == 1
        assert expiry.find_unpurged(database) == [(stuck, "results")]
        assert RESULT not in _files(tmp_path, other)
    assert f"folder_not_removed url=file://{place}" in caplog.text
    place.unlink()
    assert keeper.tidy(_later()).n_failed == 0
    assert expiry.find_unpurged(database) == []
    assert runs.count_runs(database) == ({} if policy == "runs_days" else {"failed": 2})


def test_a_store_that_is_away_ends_no_pass_and_each_folder_is_tried_once(
    database: Database,
    tmp_path: Path,
    old_run: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_ids = [old_run() for _ in range(4)]
    tried: list[str] = []

    def fail(folder: str) -> None:
        tried.append(folder)
        raise RuntimeError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(housekeeping, "remove_folder", fail)
        patch.setattr(expiry, "find_unpurged", functools.partial(expiry.find_unpurged, limit=3))
        keeper = _keep(database, tmp_path, artifacts_days=50, logs_days=50)
        for _ in range(2):
            tried.clear()
            assert keeper.tidy(_later()).n_failed == 8
            assert len(tried) == len(set(tried)) == 8
    keeper.tidy(_later())
    assert expiry.find_unpurged(database) == []
    assert not any(_files(tmp_path, run_id) for run_id in run_ids)


def test_orphans_that_cannot_be_removed_are_tried_again(
    database: Database, tmp_path: Path, old_run: Callable[..., str]
) -> None:
    place = tmp_path / "store" / "runs" / old_run() / "1" / "1"
    _put_file_in_place_of(place)
    keeper = _keep(database, tmp_path, orphans_days=1)
    tidied = keeper.tidy(_later())
    assert (tidied.n_orphans, tidied.n_failed) == (0, 1)
    place.unlink()
    place.mkdir()
    assert keeper.tidy(_later()).n_orphans == 1
    assert not place.exists()


def test_signs_of_life_are_forgotten_whatever_the_policy_says(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_SIGNS_KEPT_S", -10.0)
    stored_leader.beat(database, "scheduler", "dead")
    keeper = _keep(database, tmp_path)
    keeper.is_dry = True
    keeper.tidy(_later())
    assert [one.kind for one in stored_leader.list_components(database)] == ["scheduler"]
    keeper.is_dry = False
    keeper.tidy(_later())
    assert [one.kind for one in stored_leader.list_components(database)] == [housekeeping.KIND]


def test_all_old_keys_go_in_one_pass(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_KEYS_AT_ONCE", 1)
    for number in range(3):
        key = IdempotencyKey(f"k{number}", "start_run", "0")
        accept_sample_run(database, idempotency_key=key)
    assert _keep(database, tmp_path, keys_days=1).tidy(_later()).n_keys == 3
