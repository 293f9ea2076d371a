"""Deletes what the policy of retention says is old: a thread beside the scheduler that leads, and
`dagengine db prune`.

It works in small pieces with a connection of its own, so that no task waits for it. Whatever it is
killed in is taken up again: what is to go is marked in the database first, then its files are
removed, then its rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dag_engine.config import RetentionConfig
from dag_engine.scheduler.figures import Figures
from dag_engine.storage import expiry, idempotency
from dag_engine.storage import leader as stored_leader
from dag_engine.storage.database import Database
from dag_engine.storage.errors import StorageError
from dag_engine.storage.expiry import Kind
from executors.store import join_url, make_attempt_folder, make_run_folder, remove_folder

log = logging.getLogger(__name__)

KIND = "housekeeping"
_KINDS: tuple[Kind, ...] = ("results", "logs")
_FIRST_AFTER_S = 30.0
_RUNS_AT_ONCE = 20
SIGN_S = 5.0
"""So often a scheduler tells that it lives, whether it leads or stands by."""
_SIGNS_KEPT_S = 3600.0
_BREATH_S = 0.02
"""Between two pieces of work: so the scheduler's commits get their turn on SQLite's one lock."""
_FIRST_MOMENT = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_SLACK_S = 60.0
_BELIEVED_AFTER_S = 24 * 3600.0


@dataclass(slots=True)
class Tidied:
    """What one pass did; `n_kept` runs are old, but others stand on their results, and `n_failed`
    folders could not be removed.
    """

    n_runs: int = 0
    n_results: int = 0
    n_logs: int = 0
    n_orphans: int = 0
    n_keys: int = 0
    n_reports: int = 0
    n_kept: int = 0
    n_failed: int = 0


@dataclass(slots=True)
class Housekeeper:
    """Carries out one policy on one database and store.

    `is_stopping` is asked between two pieces of work, `read_calendar` what the date is. With
    `is_dry` nothing is changed; what would be deleted is counted.
    """

    database: Database
    store_url: str
    policy: RetentionConfig
    is_dry: bool = False
    is_stopping: threading.Event = field(default_factory=threading.Event)
    read_calendar: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    _tidied: Tidied = field(default_factory=Tidied)
    _failed: set[str] = field(default_factory=set)

    def tidy(self, now: dt.datetime | None = None) -> Tidied:
        """Do one pass. Raises `StorageError` where the database is away: the next one goes on."""
        # What is deleted does not come back: of two clocks the one that deletes less is believed.
        now = now or min(self.read_calendar(), stored_leader.read_clock(self.database))
        self._tidied = Tidied()
        self._failed.clear()
        policy = self.policy
        orphans_until = self._read_orphans_until(now)
        if not self.is_dry:
            stored_leader.prune_components(self.database, _SIGNS_KEPT_S)
            self._finish_former()
        self._delete_runs(_age(now, policy.runs_days))
        self._expire("results", _age(now, policy.artifacts_days))
        self._expire("logs", _age(now, policy.logs_days))
        orphans_until = self._remove_orphans(orphans_until, _age(now, policy.orphans_days))
        self._forget_keys(_age(now, _least(policy.keys_days, policy.runs_days)))
        self._tidied.n_failed = len(self._failed)
        if not self.is_dry:
            self._note(orphans_until)
        return self._tidied

    def _finish_former(self) -> None:
        """Remove the files of what was marked by a pass that was broken off."""
        tried: set[tuple[str, str]] = set()
        begin = ""
        while found := set(expiry.find_unpurged(self.database, begin=begin)) - tried:
            for kind in _KINDS:
                self._remove_files(sorted(run_id for run_id, of in found if of == kind), kind)
                if self.is_stopping.is_set():
                    return
            tried |= found
            begin = max(found)[0]  # of which the second kind of files may be still to come

    def _delete_runs(self, before: dt.datetime | None) -> None:
        for run_ids in self._find_old(before, None):
            chosen = self._mark(run_ids, "results")
            if not self.is_dry:
                chosen = [
                    run_id
                    for run_id in chosen
                    if all(self._remove(self._find_folder(run_id, kind)) for kind in _KINDS)
                ]
                expiry.delete_runs(self.database, chosen)
                self._breathe()
            self._tidied.n_runs += len(chosen)

    def _expire(self, kind: Kind, before: dt.datetime | None) -> None:
        for run_ids in self._find_old(before, kind):
            chosen = self._mark(run_ids, kind)
            if not self.is_dry:
                self._remove_files(chosen, kind)
            if kind == "logs":
                self._tidied.n_logs += len(chosen)
            else:
                self._tidied.n_results += len(chosen)

    def _find_old(self, before: dt.datetime | None, without: Kind | None) -> _Pieces:
        return _Pieces(self, before, without)

    def _mark(self, run_ids: list[str], kind: Kind) -> list[str]:
        if self.is_dry:
            needed = (
                self.database.read(lambda c: expiry.find_needed(c, run_ids))
                if kind == "results"
                else set()
            )
            chosen = [run_id for run_id in run_ids if run_id not in needed]
        else:
            chosen = expiry.expire(self.database, run_ids, kind)
        self._tidied.n_kept += len(run_ids) - len(chosen)
        return chosen

    def _remove_files(self, run_ids: list[str], kind: Kind) -> None:
        gone = [run_id for run_id in run_ids if self._remove(self._find_folder(run_id, kind))]
        expiry.note_purged(self.database, gone, kind)
        self._breathe()

    def _remove(self, folder: str) -> bool:
        """Remove a folder; where that fails, what bears no mark of it is tried in the next pass."""
        if folder in self._failed:
            return False
        try:
            remove_folder(folder)
        except Exception as error:  # noqa: BLE001 - a store's file system raises what it likes
            self._failed.add(folder)
            log.warning("folder_not_removed url=%s detail=%s", folder, error)
            return False
        return True

    def _find_folder(self, run_id: str, kind: Kind) -> str:
        if kind == "logs":
            return join_url(self.store_url, "logs", run_id)
        return make_run_folder(self.store_url, run_id)

    def _remove_orphans(self, since: dt.datetime, before: dt.datetime | None) -> dt.datetime:
        """Remove what attempts left that did not bring their task's result, of runs that ended in
        this span; tells up to when nothing is left.
        """
        if before is None or before <= since:
            return since
        n_failed, after = len(self._failed), ""
        while losers := expiry.find_losers(self.database, since, before, after=after):
            for run_id, index, attempt in losers:
                if self.is_stopping.is_set():
                    return since
                folder = make_attempt_folder(self.store_url, run_id, index, attempt)
                if self.is_dry or self._remove(folder):
                    self._tidied.n_orphans += 1
            after = losers[-1][0]
            self._breathe()
        return before if len(self._failed) == n_failed else since

    def _forget_keys(self, before: dt.datetime | None) -> None:
        if before is not None and not self.is_dry:
            self._tidied.n_keys = self._forget(idempotency.prune_keys, before)
            self._tidied.n_reports = self._forget(expiry.prune_stale_reports, before)

    def _forget(self, prune: Callable[[Database, dt.datetime], int], before: dt.datetime) -> int:
        n_gone = 0
        while not self.is_stopping.is_set() and (n := prune(self.database, before)):
            n_gone += n
            self._breathe()
        return n_gone

    def _read_orphans_until(self, now: dt.datetime) -> dt.datetime:
        """Tell up to when former passes have removed what attempts left."""
        for one in stored_leader.list_components(self.database):
            if one.kind == KIND and (text := (one.detail or {}).get("orphans_until")):
                until = dt.datetime.fromisoformat(text)
                # One that is yet to come was noted by a clock that has been mended since.
                return until if until <= now else _FIRST_MOMENT
        return _FIRST_MOMENT

    def _note(self, orphans_until: dt.datetime) -> None:
        """Note the pass for people, for metrics, and for the next pass."""
        detail = {**dataclasses.asdict(self._tidied), "orphans_until": orphans_until.isoformat()}
        stored_leader.beat(self.database, KIND, "", detail=detail)

    def _breathe(self) -> None:
        self.is_stopping.wait(_BREATH_S)


class _Pieces:
    """Iterates over old runs, a few at a time; what is kept is not met twice."""

    def __init__(
        self, keeper: Housekeeper, before: dt.datetime | None, without: Kind | None
    ) -> None:
        self._keeper = keeper
        self._before = before
        self._without = without

    def __iter__(self) -> _Pieces:
        self._last = ""
        return self

    def __next__(self) -> list[str]:
        keeper = self._keeper
        if self._before is None or keeper.is_stopping.is_set():
            raise StopIteration
        found = expiry.find_old_runs(
            keeper.database,
            self._before,
            without=self._without,
            after=self._last,
            limit=_RUNS_AT_ONCE,
        )
        if not found:
            raise StopIteration
        self._last = found[-1]
        return found


def _age(now: dt.datetime, days: float | None) -> dt.datetime | None:
    return None if days is None else now - dt.timedelta(days=days)


def _least(*days: float | None) -> float | None:
    return min((one for one in days if one is not None), default=None)


class CarefulCalendar:
    """Tells the date, but believes a clock that was set forward only when it has stayed so for a
    day: what is deleted since it seems to be old does not come back.

    `now` is the wall clock, `uptime_s` a clock that cannot be set and goes on while the machine
    sleeps.
    """

    def __init__(
        self,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        uptime_s: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
    ) -> None:
        self._now = now
        self._uptime_s = uptime_s
        self._known = (now(), uptime_s())
        self._ahead_since_s: float | None = None

    def read(self) -> dt.datetime:
        """Return the moment that may be gone by."""
        now, uptime_s = self._now(), self._uptime_s()
        then, then_s = self._known
        expected = then + dt.timedelta(seconds=uptime_s - then_s)
        if now - expected > dt.timedelta(seconds=_SLACK_S):
            if self._ahead_since_s is None:
                self._ahead_since_s = uptime_s
                log.warning("clock_set_forward by=%s nothing_deleted_by_it_for=1d", now - expected)
            if uptime_s - self._ahead_since_s < _BELIEVED_AFTER_S:
                return expected
        self._ahead_since_s = None
        self._known = (now, uptime_s)
        return now


class HousekeepingThread:
    """Tidies every so often while this process leads.

    Parameters
    ----------
    open_database : callable
        Opens the thread's own connection.
    store_url : str
        The artifact store.
    policy : RetentionConfig
        What is old, and how often to look.
    is_leading : callable
        Whether this scheduler leads just now.
    holder : str
        Name under which this scheduler gives signs of life.
    figures : Figures
        Told every few seconds to look at the clocks.
    """

    def __init__(
        self,
        open_database: Callable[[], Database],
        store_url: str,
        policy: RetentionConfig,
        is_leading: Callable[[], bool],
        *,
        holder: str = "",
        figures: Figures | None = None,
    ) -> None:
        self._open_database = open_database
        self._store_url = store_url
        self._policy = policy
        self._is_leading = is_leading
        self._holder = holder
        self._figures = figures
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Start; the first pass comes a while after the start."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present piece of work."""
        self._stopped.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        database = self._open_database()
        calendar = CarefulCalendar()
        keeper = Housekeeper(
            database,
            self._store_url,
            self._policy,
            is_stopping=self._stopped,
            read_calendar=calendar.read,
        )
        due = time.monotonic() + min(_FIRST_AFTER_S, self._policy.every_s)
        while True:
            self._give_sign(database)
            if time.monotonic() >= due and self._is_leading():
                self._tidy(keeper)
                due = time.monotonic() + self._policy.every_s
            if self._stopped.wait(min(SIGN_S, self._policy.every_s)):
                break
        if self._holder:
            with contextlib.suppress(StorageError):
                stored_leader.drop_component(database, "scheduler", self._holder)
        database.close()

    def _give_sign(self, database: Database) -> None:
        if self._figures is not None:
            self._figures.note_clock()
        if not self._holder:
            return
        try:
            stored_leader.beat(
                database,
                "scheduler",
                self._holder,
                host=socket.gethostname(),
                pid=os.getpid(),
                detail={"leads": self._is_leading()},
            )
        except StorageError as error:
            log.info("sign_not_given detail=%s", error)

    def _tidy(self, keeper: Housekeeper) -> None:
        try:
            tidied = keeper.tidy()
        except (StorageError, OSError) as error:
            log.warning("housekeeping_failed detail=%s", error)
            return
        except Exception:
            # Whatever it is, the scheduler must not end of it.
            log.exception("housekeeping_failed")
            return
        if any(dataclasses.astuple(tidied)):
            log.info("housekeeping_done %s", describe(tidied))


def describe(tidied: Tidied) -> str:
    """Write the numbers of a pass as fields of a log line."""
    return " ".join(f"{name}={value}" for name, value in dataclasses.asdict(tidied).items())
