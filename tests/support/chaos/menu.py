"""Draws faults: which ones there are, how often each comes, how soon the work must go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.chaos.cluster import DAG_PROCESSES, ENGINE_PROCESSES, Cluster, Member
from tests.support.chaos.faults import (
    DisturbWay,
    Fault,
    HoldSqlite,
    KillEverything,
    KillMember,
    KillProcess,
    KillServer,
    StopMember,
    StopProcess,
    StopServer,
    find_leader,
)
from tests.support.chaos.probe import Seen

WORKER_S = 1.0
RESTART_S = 3.0
BEYOND_LEASE_S = 5.0
DATABASE_S = 5.0


@dataclass(frozen=True, slots=True)
class Promise:
    """How soon work must go on: after the fault began, or after it ended; and which work.

    `is_new` asks for an attempt that began after the fault. `loser` is the operator engine whose
    attempts must be given to others.
    """

    name: str
    bound_s: float
    is_meant: Callable[[Seen], bool]
    is_from_end: bool = False
    is_new: bool = False
    loser: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind of fault with its weight in the draw."""

    weight: int
    make: Callable[[Cluster, random.Random], Fault]


def list_first_faults(cluster: Cluster, chance: random.Random, *, is_long: bool) -> list[Fault]:
    """List, in random order, what no campaign must be without, however short it is."""
    beyond_s = cluster.lease_s + 1.5
    engine, other = chance.sample(cluster.operator_engines, 2)
    dag_engine = chance.choice(cluster.dag_engines)
    everywhere = [f"->{member.name} scheduler" for member in cluster.dag_engines]
    faults: list[Fault] = [
        StopMember(cluster, engine, beyond_s),
        KillProcess(cluster, other, "pool worker"),
        KillProcess(cluster, engine, "executor-local"),
        KillProcess(cluster, other, "engine-main"),
        KillProcess(cluster, dag_engine, "scheduler"),
        DisturbWay(cluster, f"client->{dag_engine.name}", "lose answers", 1.5, n=8),
        *(DisturbWay(cluster, way, "send twice", 1.5, n=30) for way in everywhere),
        *(DisturbWay(cluster, way, "lose answers", 1.5, n=8) for way in everywhere),
    ]
    if cluster.server is not None:
        faults.append(KillServer(cluster, cluster.server, 1.0))
        ways = [f"{member.name}->database" for member in cluster.dag_engines]
        faults += [DisturbWay(cluster, way, "lose answers", 1.5, n=8) for way in ways]
    else:
        faults.append(HoldSqlite(cluster, 2.0, is_queue=False))
    if is_long:
        faults.append(KillEverything(cluster, 1.0))
    chance.shuffle(faults)
    return faults


def draw_fault(cluster: Cluster, chance: random.Random) -> Fault:
    """Draw the next fault."""
    choices = _COMMON + (_SQLITE if cluster.server is None else _MARIADB)
    chosen: Choice = chance.choices(choices, [choice.weight for choice in choices])[0]
    return chosen.make(cluster, chance)


# --- processes ------------------------------------------------------------------------------------


def _kill_dag_process(cluster: Cluster, chance: random.Random) -> Fault:
    member, process = _draw_dag_process(cluster, chance)
    return KillProcess(cluster, member, process)


def _kill_engine_process(cluster: Cluster, chance: random.Random) -> Fault:
    process = chance.choice(ENGINE_PROCESSES)
    return KillProcess(cluster, chance.choice(cluster.operator_engines), process)


def _kill_worker(cluster: Cluster, chance: random.Random) -> Fault:
    return KillProcess(cluster, chance.choice(cluster.operator_engines), "pool worker")


def _stop_dag_process(cluster: Cluster, chance: random.Random) -> Fault:
    member, process = _draw_dag_process(cluster, chance)
    return StopProcess(cluster, member, process, _draw_stop_s(cluster, chance))


def _draw_dag_process(cluster: Cluster, chance: random.Random) -> tuple[Member, str]:
    """Draw a process of a dag engine; of the schedulers more often the one that leads."""
    process = chance.choice(DAG_PROCESSES)
    member = chance.choice(cluster.dag_engines)
    if process == "scheduler" and chance.random() < 0.7:
        member = find_leader(cluster) or member
    return member, process


def _stop_engine_process(cluster: Cluster, chance: random.Random) -> Fault:
    process = chance.choice(ENGINE_PROCESSES)
    member = chance.choice(cluster.operator_engines)
    return StopProcess(cluster, member, process, _draw_stop_s(cluster, chance))


def _draw_stop_s(cluster: Cluster, chance: random.Random) -> float:
    """Draw a stop that is mostly short, and at times longer than the leases."""
    if chance.random() < 0.3:
        return cluster.lease_s + chance.uniform(1.0, 3.0)
    return chance.uniform(0.1, min(3.0, cluster.lease_s * 0.8))


def _kill_member(cluster: Cluster, chance: random.Random) -> Fault:
    return KillMember(cluster, chance.choice(cluster.members), chance.uniform(0.0, 3.0))


def _stop_member(cluster: Cluster, chance: random.Random) -> Fault:
    return StopMember(cluster, chance.choice(cluster.members), _draw_stop_s(cluster, chance))


def _kill_everything(cluster: Cluster, chance: random.Random) -> Fault:
    return KillEverything(cluster, chance.uniform(0.0, 1.0))


# --- the database ---------------------------------------------------------------------------------


def _kill_server(cluster: Cluster, chance: random.Random) -> Fault:
    assert cluster.server is not None
    return KillServer(cluster, cluster.server, chance.uniform(0.0, 4.0))


def _stop_server(cluster: Cluster, chance: random.Random) -> Fault:
    assert cluster.server is not None
    return StopServer(cluster, cluster.server, chance.uniform(0.2, 6.0))


def _hold_sqlite(cluster: Cluster, chance: random.Random) -> Fault:
    return HoldSqlite(cluster, chance.uniform(0.2, 6.0), is_queue=chance.random() < 0.5)


def _disturb_database(cluster: Cluster, chance: random.Random) -> Fault:
    way = f"{chance.choice(cluster.dag_engines).name}->database"
    kinds = ("cut", "black hole", "swallow answers", "slow", "slice", "reset")
    return DisturbWay(cluster, way, chance.choice(kinds), chance.uniform(0.3, 5.0))


def _lose_commits(cluster: Cluster, chance: random.Random) -> Fault:
    way = f"{chance.choice(cluster.dag_engines).name}->database"
    return DisturbWay(cluster, way, "lose answers", 1.5, n=chance.randint(1, 5))


# --- the network ----------------------------------------------------------------------------------


def _disturb_way(cluster: Cluster, chance: random.Random) -> Fault:
    kinds = ("cut", "black hole", "swallow answers", "slow", "slice", "reset")
    hold_s = chance.uniform(0.3, 4.0)
    return DisturbWay(cluster, _draw_way(cluster, chance), chance.choice(kinds), hold_s)


def _lose_answers(cluster: Cluster, chance: random.Random) -> Fault:
    n = chance.randint(1, 8)
    return DisturbWay(cluster, _draw_way(cluster, chance), "lose answers", 1.5, n)


def _send_twice(cluster: Cluster, chance: random.Random) -> Fault:
    n = chance.randint(5, 30)
    return DisturbWay(cluster, _draw_way(cluster, chance), "send twice", 1.5, n)


def _draw_way(cluster: Cluster, chance: random.Random) -> str:
    return chance.choice([way for way in cluster.proxies if not way.endswith("->database")])


_COMMON: Sequence[Choice] = (
    Choice(14, _kill_dag_process),
    Choice(18, _kill_engine_process),
    Choice(10, _kill_worker),
    Choice(9, _stop_dag_process),
    Choice(9, _stop_engine_process),
    Choice(5, _kill_member),
    Choice(5, _stop_member),
    Choice(1, _kill_everything),
    Choice(9, _disturb_way),
    Choice(7, _lose_answers),
    Choice(7, _send_twice),
)
_SQLITE: Sequence[Choice] = (Choice(7, _hold_sqlite),)
_MARIADB: Sequence[Choice] = (
    Choice(7, _kill_server),
    Choice(5, _stop_server),
    Choice(8, _disturb_database),
    Choice(8, _lose_commits),
)


# --- how soon -------------------------------------------------------------------------------------


def promise_of(fault: Fault, leader: Member | None) -> Promise | None:
    """Tell what is promised after a fault; None where nothing is, as after the loss of a standby.

    `leader` is the dag engine whose scheduler led when the fault began.
    """
    if isinstance(fault, KillServer | HoldSqlite):
        return Promise("database_back", DATABASE_S, _is_event, is_from_end=True)
    if isinstance(fault, DisturbWay):
        return _promise_of_way(fault, leader)
    if isinstance(fault, KillProcess):
        return _promise_of_process(fault, leader)
    if isinstance(fault, StopMember) and fault.hold_s <= fault.cluster.lease_s:
        return None
    if isinstance(fault, KillMember):
        bound_s = fault.cluster.lease_s + BEYOND_LEASE_S
        if not fault.member.is_dag_engine:
            name = fault.member.name
            return Promise("taken_over", bound_s, _is_event_of(name), loser=name)
        return Promise("taken_over", bound_s, _is_event) if fault.member is leader else None
    return None


def _promise_of_way(fault: DisturbWay, leader: Member | None) -> Promise | None:
    if fault.kind not in ("cut", "black hole", "swallow answers", "reset"):
        return None
    if fault.target.endswith("->database"):
        is_leaders = leader is not None and fault.target.startswith(leader.name)
        if is_leaders:
            return Promise("database_back", DATABASE_S, _is_event, is_from_end=True)
    return None


def _promise_of_process(fault: KillProcess, leader: Member | None) -> Promise | None:
    lease_s = fault.cluster.lease_s
    member, process = fault.member, fault.process
    is_stop = isinstance(fault, StopProcess)
    if process == "pool worker":
        if is_stop or not fault.attempt_id:
            return None
        return Promise("worker_crash", WORKER_S, _is_end_of(fault.attempt_id))
    if process in ("api", "api worker"):
        is_meant = _is_ack_of(member.name)
    elif process == "scheduler":
        if member is not leader:
            return None
        is_meant = _is_event
    else:
        is_meant = _is_event_of(member.name)
    takes_on = process in ("engine-main", "engine-execution", "executor-local")
    if not is_stop:
        return Promise("restarted", RESTART_S, is_meant, is_new=takes_on)
    if fault.hold_s > lease_s and process == "scheduler":
        return Promise("taken_over", lease_s + BEYOND_LEASE_S, is_meant)
    return Promise("woken", RESTART_S, is_meant, is_from_end=True, is_new=takes_on)


def _is_event(seen: Seen) -> bool:
    return seen.what == "event"


def _is_event_of(engine: str) -> Callable[[Seen], bool]:
    # That a task was handed out to it shows nothing: it may be dead or asleep.
    return lambda seen: seen.what == "event" and seen.place == engine and seen.state != "queued"


def _is_end_of(attempt_id: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.attempt_id == attempt_id and seen.state not in ("queued", "running")


def _is_ack_of(dag_engine: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.what == "ack" and seen.place == dag_engine
