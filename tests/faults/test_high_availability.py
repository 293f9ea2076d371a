"""Of two dag engines one leads; whatever stops it, the other takes over, and it is not heard."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.closing_lines import Record, record_closing_lines
from tests.support.databases import DIALECTS
from tests.support.failpoints.points import BEFORE_TRANSACTION, IN_TRANSACTION
from tests.support.pair_rig import Member, Pair, open_pair
from tests.support.small_runs import SmallRuns
from tests.support.waiting import wait_until

TAKEN_OVER_WITHIN_S = 15.0
SHORT_LEASE_S = 3.0
Trouble = Callable[[Member], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def killed(leader: Member) -> Iterator[None]:
    """Its whole machine is gone."""
    leader.kill()
    yield
    leader.start()


@contextlib.contextmanager
def stopped(leader: Member) -> Iterator[None]:
    """Its scheduler stands still, wherever it is just now."""
    pid = leader.service.kill("scheduler", signal.SIGSTOP)
    yield
    with contextlib.suppress(ProcessLookupError):  # it stood still with SQLite's lock held
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped_before_a_transaction(leader: Member) -> Iterator[None]:
    """It stands still with a batch in its hands, which it will try to write when it wakes up."""
    with _stopped_at(leader, BEFORE_TRANSACTION) as pid:
        yield
        offset = _log_of(leader).stat().st_size
        os.kill(pid, signal.SIGCONT)
        _wait_for_log(leader, offset, "leadership_lost")


@contextlib.contextmanager
def stopped_in_a_transaction(leader: Member) -> Iterator[None]:
    """It stands still with the leader row locked and all rows written, but for the commit."""
    with _stopped_at(leader, IN_TRANSACTION) as pid:
        yield
        if leader.database is None:
            # The one way to get the lock of a SQLite file back.
            wait_until(lambda: leader.pid("scheduler") not in (0, pid), 20, "it was not killed")
        else:
            offset = _log_of(leader).stat().st_size
            os.kill(pid, signal.SIGCONT)
            # Its connection is gone, and what it had been given as time for it, too, if it had.
            _wait_for_log(leader, offset, "leadership_lost", "database_unavailable")


@contextlib.contextmanager
def cut_off(leader: Member) -> Iterator[None]:
    """It cannot reach the database, which does not notice."""
    assert leader.database is not None
    leader.database.stall()
    yield
    leader.database.cut()
    leader.database.mend()


@contextlib.contextmanager
def _stopped_at(leader: Member, role: str) -> Iterator[int]:
    pid = leader.pid("scheduler")
    leader.points.arm(role, "stop", at=(1,))
    wait_until(lambda: leader.points.fired(role), 30, "it wrote nothing")
    yield pid
    leader.points.disarm(role)


def _log_of(member: Member) -> Path:
    return member.home / "logs" / "services" / "scheduler.log"


def _wait_for_log(member: Member, offset: int, *words: str) -> None:
    def read() -> str:
        return _log_of(member).read_bytes()[offset:].decode(errors="replace")

    wait_until(lambda: any(word in read() for word in words), 30, read)
    # Without the fence such a batch fails at best because its events are there already.
    assert "batch_refused" not in read(), "it got as far as writing its rows"


TROUBLES: list[Trouble] = [stopped_before_a_transaction, stopped_in_a_transaction, killed, stopped]


def take_over(pair: Pair, load: SmallRuns, trouble: Trouble) -> float:
    """Trouble the leader until the other one leads; returns the seconds until runs moved on."""
    leader, standby = pair.find_leader()
    epoch, _ = pair.read_leader()
    trouble_began = time.monotonic()
    with trouble(leader):
        n_ended = _count_ended(pair)  # from now on the former leader ends none
        wait_until(lambda: pair.is_leading(standby), 60, pair.describe)
        wait_until(lambda: _count_ended(pair) > n_ended, 60, pair.describe)
        took_s = time.monotonic() - trouble_began
    load.wait_for_more(5)
    pair.wait_whole()
    assert pair.is_leading(standby), "the former leader took it back"
    assert pair.read_leader()[0] == epoch + 1
    log = _log_of(leader).read_text(errors="replace")
    assert "batch_refused" not in log, "what it wrote got past the fence"
    return took_s


def _count_ended(pair: Pair) -> int:
    sql = "SELECT COUNT(*) FROM runs WHERE ended_at IS NOT NULL"
    return int(pair.database.read(lambda c: c.exec_driver_sql(sql).scalar()) or 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_standby_takes_over_and_the_former_leader_is_heard_no_more(
    tmp_path: Path, dialect: str
) -> None:
    troubles = [*TROUBLES[:3], *([cut_off] if dialect == "mysql" else [])]
    with open_pair(tmp_path, dialect, lease_s=SHORT_LEASE_S) as pair:
        with SmallRuns(pair.urls, pair.ledger) as load:
            load.wait_for_more(3)
            times = [take_over(pair, load, trouble) for trouble in troubles]
        load.check(pair.urls[0])
        assert load.count_extra_attempts() == 0, "no operator engine was disturbed"
    assert max(times) < TAKEN_OVER_WITHIN_S, times


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_standby_takes_over_in_time_with_the_default_lease(
    tmp_path: Path, dialect: str, record_property: Record
) -> None:
    troubles = [*TROUBLES, *([cut_off] if dialect == "mysql" else [])]
    with open_pair(tmp_path, dialect) as pair:
        with SmallRuns(pair.urls, pair.ledger) as load:
            load.wait_for_more(3)
            times = {trouble.__name__: take_over(pair, load, trouble) for trouble in troubles}
        load.check(pair.urls[0])
    told = " ".join(f"{name}={took:.1f}" for name, took in times.items())
    record_closing_lines(record_property, f"take-over {dialect}: runs moved on after s: {told}")
    assert max(times.values()) < TAKEN_OVER_WITHIN_S, times
