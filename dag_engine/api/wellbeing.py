"""How every part of the service is, with what is wrong, since when, and what to do about it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from dag_engine.config import Config, HealthConfig
from dag_engine.storage import engines as stored_engines
from dag_engine.storage import leader as stored_leader
from dag_engine.storage import schema
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.rows import ComponentRecord
from executors.disks import measure_disks
from executors.facts import Disk, EngineFacts
from executors.store import get_local_path, is_local

OK, DEGRADED, AWAY = "ok", "degraded", "away"
_COMMIT_LIMIT_S = 5.0
_LATE_PASSES = 3
_KEEPING_S = 3600.0
_REMEMBERED_S = 24 * 3600.0
_DISK_HINT = (
    "Make room, or move the folder; `retention` and `dagengine db prune` delete what is old."
)


@dataclass(slots=True)
class Part:
    """One component: `detail` says what is wrong, `hint` names the cure."""

    kind: str
    instance: str = ""
    status: str = OK
    detail: str = ""
    hint: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def worsen(self, status: str, detail: str, hint: str) -> None:
        """Note something wrong; what is worse stays on top."""
        if self.status != AWAY:
            self.status = status
        self.detail = f"{self.detail} {detail}".strip()
        self.hint = f"{self.hint} {hint}".strip()


@dataclass(slots=True)
class _Seen:
    status: str
    since: dt.datetime
    looked_at: float


class Since:
    """Remembers since when each component is as it is, as far as this process has seen.

    What a look leaves out is remembered for a day: while the database is away most cannot be
    looked at, and are afterwards as they were.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], _Seen] = {}

    def show(self, parts: list[Part]) -> list[dict[str, Any]]:
        """Show the components."""
        moment, now = dt.datetime.now(dt.UTC), self._clock()
        with self._lock:
            for part in parts:
                key = (part.kind, part.instance)
                seen = self._seen.get(key)
                since = seen.since if seen and seen.status == part.status else moment
                self._seen[key] = _Seen(part.status, since, now)
            self._seen = {
                key: seen
                for key, seen in self._seen.items()
                if now - seen.looked_at < _REMEMBERED_S
            }
            return [
                {
                    "kind": part.kind,
                    "instance": part.instance,
                    "status": part.status,
                    "detail": part.detail,
                    "hint": part.hint,
                    "since": self._seen[part.kind, part.instance].since,
                    **part.facts,
                }
                for part in parts
            ]


@dataclass(slots=True)
class Surroundings:
    """What is looked at: configuration, database, and how the scheduler answers its status."""

    config: Config
    database: Database
    ask_scheduler: Callable[[], Mapping[str, Any]]

    @property
    def limits(self) -> HealthConfig:
        """From where on something is degraded."""
        return self.config.health


def look_around(around: Surroundings) -> list[Part]:
    """Look at everything; what cannot be asked without the database is left out then."""
    parts = [Part("api"), *_look_at_disks(around.config)]
    database = Part("database")
    parts.append(database)
    try:
        _look_at_database(around, database)
        if database.status != AWAY:
            parts += _look_at_stored(around)
    except DatabaseUnavailableError as error:
        database.worsen(
            AWAY, error.detail, "See to the database server or its disk; nothing is lost meanwhile."
        )
    return parts


# --- disks ----------------------------------------------------------------------------------------


def own_folders(config: Config) -> dict[str, str]:
    """Name the folders in which this machine writes."""
    folders = {"home": str(config.home), "service_logs": str(config.home / "logs")}
    if not config.database.url or config.database.url.startswith("sqlite"):
        folders["database"] = str(Path(config.database.url.partition("///")[2] or config.home))
    if is_local(config.store_url):
        folders["artifacts"] = get_local_path(config.store_url)
    return folders


def _look_at_disks(config: Config) -> Iterator[Part]:
    for name, disk in measure_disks(own_folders(config)).items():
        part = Part("disk", name, facts={"free_bytes": disk.free_bytes})
        judge_disk(part, name, disk, config.health)
        yield part


def judge_disk(part: Part, name: str, disk: Disk, limits: HealthConfig) -> None:
    """Say where a disk has little room."""
    percent = 100.0 * disk.free_bytes / max(1, disk.total_bytes)
    room = f"{disk.free_bytes / 1e9:.1f} GB ({percent:.1f} %) are free for {name}."
    if percent < limits.disk_full_percent:
        part.worsen(DEGRADED, f"The disk is full: {room}", _DISK_HINT)
    elif percent < limits.disk_low_percent:
        part.worsen(DEGRADED, f"The disk is nearly full: {room}", _DISK_HINT)


# --- database -------------------------------------------------------------------------------------


def _look_at_database(around: Surroundings, part: Part) -> None:
    began = time.monotonic()
    state = schema.read_state(around.database)
    took_s = time.monotonic() - began
    part.facts["answer_s"] = round(took_s, 4)
    if not state.is_current:
        part.worsen(
            AWAY,
            f"Its schema is {state.found or 'not there'}; this program needs {state.needed}.",
            "Run `dagengine db upgrade` with the newest program.",
        )
    elif took_s > around.limits.database_slow_s:
        part.worsen(
            DEGRADED,
            f"It took {took_s:.2f} s to answer a small question.",
            "Look at its load, its disk and long transactions of others.",
        )


def _look_at_stored(around: Surroundings) -> list[Part]:
    signs = stored_leader.list_components(around.database)
    status = around.ask_scheduler()
    return [
        _look_at_leader(around, status),
        *_look_at_standbys(signs),
        *_look_at_engines(around, status),
        *_look_at_waiting(status),
        *_look_at_care(around, signs),
    ]


# --- schedulers -----------------------------------------------------------------------------------


def _look_at_leader(around: Surroundings, status: Mapping[str, Any]) -> Part:
    leader = stored_leader.get_leader(around.database)
    part = Part("scheduler", leader.holder if leader else "")
    if leader is None or not leader.is_leading:
        part.worsen(
            AWAY,
            "No scheduler leads: runs are accepted and wait.",
            "Start a dag engine, or look at the log of the scheduler.",
        )
        return part
    part.facts = {"epoch": leader.epoch, "lease_until": leader.lease_until}
    if not status:
        part.worsen(
            DEGRADED,
            "It leads but does not answer.",
            "Look at its log, and whether this machine reaches its address.",
        )
        return part
    committing_s = float(status.get("figures", {}).get("committing_s", 0.0))
    if committing_s > _COMMIT_LIMIT_S:
        part.worsen(
            DEGRADED,
            f"A commit is under way for {committing_s:.0f} s.",
            "The database is away, full or locked; it is tried until it succeeds.",
        )
    return part


def _look_at_standbys(signs: list[ComponentRecord]) -> Iterator[Part]:
    for sign in signs:
        if sign.is_live_scheduler and not sign.is_leading:
            yield Part("standby", sign.instance, facts={"heartbeat_at": sign.heartbeat_at})


# --- operator engines -----------------------------------------------------------------------------


def _look_at_engines(around: Surroundings, status: Mapping[str, Any]) -> Iterator[Part]:
    live = {engine["id"]: engine for engine in status.get("engines", ())}
    for engine in stored_engines.list_engines(around.database):
        heard_at = engine.heartbeat_at or engine.registered_at
        part = Part("operator_engine", engine.id, facts={"heartbeat_at": heard_at})
        if not engine.is_alive:
            part.worsen(
                AWAY,
                "It has stopped, or was not heard of for its lease; its work is with others.",
                "Start it again; deregister it if it is not to come back.",
            )
        elif engine.id in live:
            judge_engine(part, live[engine.id], around)
        yield part


def judge_engine(part: Part, live: Mapping[str, Any], around: Surroundings) -> None:
    """Say what is wrong with an engine that is alive, by what it told with its last heartbeat."""
    facts = msgspec.convert(live["facts"], EngineFacts)
    part.facts |= {"silent_s": round(live["silent_s"], 1), "out": live["out"]}
    part.facts["n_unacknowledged"] = facts.n_unacknowledged
    if live["silent_s"] > 2 * around.config.scheduler.heartbeat_s + 1:
        part.worsen(
            DEGRADED,
            f"It has been silent for {live['silent_s']:.0f} s.",
            "Look at its log and at the network; after its lease its work is given to others.",
        )
    if live["is_leaving"]:
        part.worsen(DEGRADED, "It is being stopped: it takes nothing more.", "Wait, or start it.")
    if facts.oldest_unacknowledged_s > around.limits.unacknowledged_s:
        part.worsen(
            DEGRADED,
            f"{facts.n_unacknowledged} ends wait to be stored, the oldest for "
            f"{facts.oldest_unacknowledged_s:.0f} s.",
            "See whether it reaches the scheduler, and whether the scheduler reaches its database.",
        )
    if facts.away:
        part.worsen(
            DEGRADED,
            f"Of its processes, these are away: {', '.join(facts.away)}.",
            "They are started again by themselves; its logs tell why they died.",
        )
    for name, disk in facts.disks.items():
        judge_disk(part, name, disk, around.limits)


def _look_at_waiting(status: Mapping[str, Any]) -> Iterator[Part]:
    why = status.get("waiting_why", {})
    lacking = {code: n for code, n in why.items() if code in ("no_engine", "engine_away")}
    if lacking:
        part = Part("tasks", facts=dict(why))
        part.worsen(
            DEGRADED,
            f"{sum(lacking.values())} tasks are ready and no operator engine can take them.",
            "`dagengine runs why RUN OPERATOR` says what is wanted; start an engine that has it.",
        )
        yield part


# --- backups and retention ------------------------------------------------------------------------


def _look_at_care(around: Surroundings, signs: list[ComponentRecord]) -> Iterator[Part]:
    found = {sign.kind: sign for sign in signs if sign.kind in ("backup", "housekeeping")}
    limit_days = around.limits.backup_days
    backup = found.get("backup")
    if backup is not None or limit_days is not None:
        part = Part("backup", facts={"made_at": backup.heartbeat_at if backup else None})
        age_days = backup.age_s / 86_400 if backup else None
        if limit_days is not None and (age_days is None or age_days > limit_days):
            told = "There was none" if age_days is None else f"The last is {age_days:.1f} days old"
            part.worsen(DEGRADED, f"{told}.", "Run `dagengine db backup FILE`.")
        yield part
    pass_ = found.get("housekeeping")
    if pass_ is not None:
        part = Part("housekeeping", facts={"last_at": pass_.heartbeat_at})
        if pass_.age_s > _LATE_PASSES * max(around.config.retention.every_s, _KEEPING_S):
            part.worsen(
                DEGRADED,
                f"What is old has not been looked for since {pass_.age_s / 3600:.0f} h.",
                "Look for housekeeping_failed in the log of the scheduler that leads.",
            )
        yield part
