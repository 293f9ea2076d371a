"""Who leads, and that a former leader cannot write."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from dag_engine.core.changes import Batch, EventRow
from dag_engine.storage import events
from dag_engine.storage import leader as leaders
from dag_engine.storage.database import Database
from dag_engine.storage.errors import ForkedDatabaseError, LeadershipLostError
from dag_engine.storage.mysql_session import MysqlSession
from dag_engine.storage.scheduler_store import SchedulerStore
from tests.support.databases import expire_lease
from tests.support.stored_samples import MOMENT, make_store
from tests.support.waiting import wait_until

OpenStore = Callable[..., SchedulerStore]


def one_event(seq: int = 1) -> Batch:
    return Batch(events=[EventRow("r1", seq, MOMENT, "run")])


def test_only_one_of_two_stores_leads(open_store: OpenStore) -> None:
    first, second = open_store("first"), open_store("second")
    assert first.try_lead() == 1
    assert second.try_lead() is None
    assert first.try_lead() == 1


def test_the_leader_row_tells_the_api_where_the_scheduler_is(
    database: Database, open_store: OpenStore
) -> None:
    assert leaders.get_leader(database) is None
    store = open_store("first")
    store.try_lead()
    record = leaders.get_leader(database)
    assert record is not None
    assert (record.epoch, record.holder, record.url) == (1, "first", "http://127.0.0.1/first")
    assert record.is_leading
    store.resign()
    record = leaders.get_leader(database)
    assert record is not None
    assert not record.is_leading


def test_an_expired_lease_is_taken_over_with_a_higher_epoch(
    database: Database, open_store: OpenStore
) -> None:
    first, second = open_store("first"), open_store("second")
    first.try_lead()
    expire_lease(database)
    assert second.try_lead() == 2
    assert first.renew() is False
    assert first.epoch == 0


def test_a_former_leader_is_refused_inside_its_commit(
    database: Database, open_store: OpenStore
) -> None:
    first, second = open_store("first"), open_store("second")
    first.try_lead()
    first.commit(one_event(1))
    expire_lease(database)
    second.try_lead()
    with pytest.raises(LeadershipLostError):
        first.commit(one_event(2))
    second.commit(one_event(3))
    assert [event.seq for event in events.list_events_after(database, "default", "r1", 0)] == [1, 3]


def test_a_leader_whose_lease_ran_out_goes_on_while_nobody_else_leads(
    database: Database, open_store: OpenStore
) -> None:
    first, second = open_store("first"), open_store("second")
    first.try_lead()
    expire_lease(database)
    first.commit(one_event())
    assert second.try_lead() is None, "the commit has renewed the lease"


def test_resigning_lets_a_standby_lead_at_once(open_store: OpenStore) -> None:
    first, second = open_store("first"), open_store("second")
    first.try_lead()
    first.resign()
    assert second.try_lead() == 2
    with pytest.raises(LeadershipLostError):
        first.commit(one_event())


def test_a_takeover_whose_answer_was_lost_is_found_again(open_store: OpenStore) -> None:
    store = open_store("first")
    store.try_lead()
    again = open_store("first")
    store.close()
    assert again.try_lead() == 1


def test_a_lease_beyond_every_grant_is_taken_once_it_stands_still(
    database: Database, open_store: OpenStore
) -> None:
    """The database's clock was set back by a year, and the leader died."""
    first, second = open_store("first", 0.2), open_store("second", 0.2)
    first.try_lead()
    future = (dt.datetime.now(dt.UTC) + dt.timedelta(days=365)).strftime("%Y-%m-%d %H:%M:%S.%f")
    sql = f"UPDATE leader SET lease_until = '{future}'"
    database.run_txn(lambda connection: connection.exec_driver_sql(sql))
    assert second.try_lead() is None, "the leader may be alive"
    wait_until(lambda: second.try_lead() == 2)


HOLDER_PROGRAM = """
import os, signal, sys
from dag_engine.config import DatabaseConfig
from dag_engine.core.changes import Batch, EventRow
from dag_engine.storage import sessions, mysql_session, moments
from dag_engine.storage.database import Database
from dag_engine.storage.scheduler_store import SchedulerStore
import datetime as dt

database = Database(sys.argv[1], DatabaseConfig())
store = SchedulerStore(database, holder="stopped", url="", lease_s=0.3)
assert store.try_lead() == 1

def stop(*_):
    os.kill(os.getpid(), signal.SIGSTOP)
    return ()

# The transaction stops in its middle, between the fence and the first row.
session = store._session
if database.dialect == "sqlite":
    real = session.connect()
    real.create_function("stop_here", 0, lambda: os.kill(os.getpid(), signal.SIGSTOP) or 1)
    session._statements = dict(session._statements)
    name = "add_event"
    statement = session._statements[name]
    sql = statement.sql.replace("VALUES (?", "VALUES (substr(?, stop_here())")
    session._statements[name] = type(statement)(sql)
else:
    real_render = mysql_session.render
    mysql_session.gather = lambda statements: statements
    mysql_session.render = lambda *parts: stop() or real_render(*parts)
print("ready", flush=True)
try:
    store.commit(Batch(events=[EventRow("r1", 1, dt.datetime.now(dt.UTC), "run")]))
except Exception as error:
    print(type(error).__name__, flush=True)
"""


def test_a_leader_stopped_in_the_middle_of_a_transaction_is_taken_over(
    database: Database, open_store: OpenStore
) -> None:
    second = open_store("second", 30.0)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER_PROGRAM, database.url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        wait_until(lambda: _is_stopped(child.pid))
        started = time.monotonic()
        wait_until(lambda: second.try_lead() == 2, 10.0)
        assert time.monotonic() - started < 6.0
        second.commit(one_event(2))
        if child.poll() is None:
            os.kill(child.pid, signal.SIGCONT)
        output, _ = child.communicate(timeout=20)
        assert output in {"", "LeadershipLostError\n"}
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()
    assert [event.seq for event in events.list_events_after(database, "default", "r1", 0)] == [2]


LEADER_PROGRAM = """
import sys
from dag_engine.config import DatabaseConfig
from dag_engine.storage.database import Database
from dag_engine.storage.scheduler_store import SchedulerStore

store = SchedulerStore(
    Database(sys.argv[1], DatabaseConfig()), holder="first", url="http://x", lease_s=600.0
)
print(store.try_lead(), flush=True)
sys.stdin.read()
"""


def test_a_leader_that_died_on_this_machine_is_followed_at_once(
    database: Database, open_store: OpenStore
) -> None:
    second = open_store("second", 600.0)
    child = subprocess.Popen(
        [sys.executable, "-c", LEADER_PROGRAM, database.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        assert second.try_lead() is None
    finally:
        child.kill()
        child.communicate()
    assert second.try_lead() == 2
    second.commit(one_event())


def _is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as status:
        return status.read().rpartition(")")[2].split()[0] == "T"


@pytest.mark.mysql
def test_a_reconnected_leader_gets_rid_of_its_own_half_dead_connection(
    server_database: Database,
) -> None:
    store = make_store(server_database)
    store.try_lead()
    session = store._session
    assert isinstance(session, MysqlSession)
    # The old connection holds the leader row, and we have lost sight of it.
    old = session._raw
    with old.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM leader FOR UPDATE")
    session._raw = None
    store.commit(one_event())
    assert session._raw is not old
    old.close()
    store.close()


def test_a_store_carried_over_a_fork_refuses_to_work(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(database)
    real = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: real + 1)
    with pytest.raises(ForkedDatabaseError, match="Open it after the fork"):
        store.try_lead()
    with pytest.raises(ForkedDatabaseError, match="Open it after the fork"):
        leaders.get_leader(database)
