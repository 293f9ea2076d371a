from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from executors.base import Dispatch, DispatchItem, Outcome, RegistrationReply
from executors.transport.frames import FrameSocket
from operator_engine.desk import Desk
from operator_engine.errors import DispatchRefusedError
from operator_engine.messages import (
    ExecutionHello,
    FromExecution,
    FromMonitor,
    MonitorHello,
    StageNote,
    ToExecution,
    ToMonitor,
)
from tests.support.engine_rig import make_task
from tests.support.waiting import wait_until

REPLY = RegistrationReply(epoch=3, reports_url="http://r", heartbeat_s=1, lease_s=1)


class Peer:
    """The child's end of a link."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.link = FrameSocket(ours)
        self._end = FrameSocket(theirs)

    def read(self, kind: type) -> object:
        payload = self._end.receive(1.0)
        assert payload is not None, "nothing came"
        return msgspec.json.decode(payload, type=kind)

    def is_silent(self) -> bool:
        return self._end.receive(0.0) is None

    def close(self) -> None:
        self.link.close()
        self._end.close()


@pytest.fixture
def execution() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def monitor() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def desk(execution: Peer, monitor: Peer) -> Desk:
    """A registered desk with both children."""
    desk = Desk("inc", ["file"])
    desk.attach_execution(execution.link, FromExecution(hello=ExecutionHello()))
    desk.attach_monitor(monitor.link, FromMonitor(hello=MonitorHello(polled=["file"])))
    assert desk.wait_gathered(0.0) == []
    desk.begin_registration()
    desk.settle(REPLY, "http://r/reports")
    assert monitor.read(ToMonitor) == ToMonitor(incarnation="inc", reports_url="http://r/reports")
    return desk


def make_dispatch(*numbers: int, epoch: int = 3, cancels: list[str] | None = None) -> Dispatch:
    items = [DispatchItem(task=make_task(number), token=f"t{number}") for number in numbers]
    return Dispatch(epoch=epoch, incarnation="inc", tasks=items, cancels=cancels or [])


def test_batch_is_one_message_for_each_child(desk: Desk, execution: Peer, monitor: Peer) -> None:
    desk.dispatch(make_dispatch(0, 1))
    desk.dispatch(make_dispatch(2, cancels=["rrun.0.1"]))
    first, second = execution.read(ToExecution), execution.read(ToExecution)
    assert [task.attempt_id for task in first.tasks] == ["rrun.0.1", "rrun.1.1"]
    assert [order.attempt_id for order in second.cancels] == ["rrun.0.1"]
    assert monitor.read(ToMonitor).tokens == {"rrun.0.1": "t0", "rrun.1.1": "t1"}


def test_what_is_settled_is_forgotten_with_the_next_batch(desk: Desk, execution: Peer) -> None:
    desk.dispatch(make_dispatch(0))
    execution.read(ToExecution)
    desk.hear_monitor(FromMonitor(acknowledged=["rrun.0.1"]))
    assert execution.is_silent()
    desk.dispatch(make_dispatch(1))
    assert execution.read(ToExecution).forget == ["rrun.0.1"]


def test_batch_is_put_off_while_a_registration_is_under_way(desk: Desk) -> None:
    desk.begin_registration()
    with pytest.raises(DispatchRefusedError) as caught:
        desk.dispatch(make_dispatch(0))
    assert caught.value.status == 503
    desk.abandon_registration()
    assert desk.dispatch(make_dispatch(0)) == {"accepted": 1, "known": 0}


def test_a_new_leader_is_reported_to_at_once(desk: Desk, monitor: Peer) -> None:
    desk.begin_registration()  # with the former one, which never answers
    greeting = Dispatch(epoch=4, incarnation="inc", reports_url="http://next")
    with pytest.raises(DispatchRefusedError, match="registering"):
        desk.dispatch(greeting)
    told = ToMonitor(incarnation="inc", reports_url="http://next/internal/v1/reports")
    assert monitor.read(ToMonitor) == told
    desk.abandon_registration()
    assert desk.wait_registration_wanted(0), "that one must know what is held"
    desk.begin_registration()
    desk.settle(msgspec.structs.replace(REPLY, epoch=4), told.reports_url)
    assert monitor.read(ToMonitor) == told
    desk.dispatch(greeting)
    assert monitor.is_silent()
    assert not desk.wait_registration_wanted(0), "it is known by now"
    with pytest.raises(DispatchRefusedError, match="epoch 4"):
        desk.dispatch(Dispatch(epoch=3, incarnation="inc", reports_url="http://former"))


def test_a_registration_that_is_put_off_is_repeated_with_the_new_epoch(desk: Desk) -> None:
    assert desk.epoch == 3
    desk.begin_registration()
    desk.put_off_registration(4)
    assert desk.epoch == 4
    desk.dispatch(make_dispatch(1, epoch=4))
    assert [item.attempt_id for item in desk.begin_registration()] == ["rrun.1.1"]


def test_epoch_of_the_registration_counts_too(desk: Desk) -> None:
    with pytest.raises(DispatchRefusedError) as caught:
        desk.dispatch(make_dispatch(0, epoch=2))
    assert (caught.value.status, caught.value.code) == (409, "stale_epoch")


def test_epoch_may_begin_anew_with_a_new_database(desk: Desk) -> None:
    desk.begin_registration()
    desk.settle(msgspec.structs.replace(REPLY, epoch=1), "http://r/reports")
    assert desk.dispatch(make_dispatch(0, epoch=1)) == {"accepted": 1, "known": 0}


def test_child_that_is_away_is_fed_when_it_is_back(desk: Desk, execution: Peer) -> None:
    desk.detach(execution.link)
    desk.dispatch(make_dispatch(0, 1))
    assert execution.is_silent()
    desk.attach_execution(execution.link, FromExecution(hello=ExecutionHello()))
    assert len(execution.read(ToExecution).tasks) == 2


def test_end_told_by_execution_reaches_the_monitor(
    desk: Desk, execution: Peer, monitor: Peer
) -> None:
    desk.dispatch(make_dispatch(0))
    monitor.read(ToMonitor)
    end = Outcome(attempt_id="rrun.0.1", kind="ended", state="cancelled")
    desk.hear_execution(FromExecution(ended=[end]))
    assert monitor.read(ToMonitor).outcomes == [end]
    # Told again by a restarted execution process, it is no news.
    desk.hear_execution(FromExecution(ended=[end]))
    assert monitor.is_silent()


def test_attempt_that_nobody_handed_out_asks_for_a_registration(desk: Desk) -> None:
    assert not desk.wait_registration_wanted(0.0)
    stranger = StageNote(attempt_id="rother.0.1", executor="file", stage="started")
    desk.hear_monitor(FromMonitor(notes=[stranger], needs_answer=True))
    assert desk.wait_registration_wanted(0.0)
    assert [entry.attempt_id for entry in desk.begin_registration()] == ["rother.0.1"]


@pytest.mark.parametrize("how", ["acknowledged", "forgotten", "known to a new monitor"])
def test_who_waits_until_nothing_is_held_hears_of_it_however_it_comes(
    desk: Desk, monitor: Peer, how: str
) -> None:
    desk.dispatch(make_dispatch(0))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(desk.wait_empty, 5.0)
        wait_until(lambda: bool(desk._emptied._waiters))  # type: ignore[attr-defined]
        began = time.monotonic()
        if how == "acknowledged":
            desk.hear_monitor(FromMonitor(acknowledged=["rrun.0.1"]))
        elif how == "forgotten":
            desk.begin_registration()
            desk.settle(msgspec.structs.replace(REPLY, forget=["rrun.0.1"]), "http://r/reports")
        else:
            hello = MonitorHello(polled=["file"], acknowledged=["rrun.0.1"])
            desk.attach_monitor(monitor.link, FromMonitor(hello=hello))
        assert waiting.result()
    assert time.monotonic() - began < 2.5


def test_acknowledgement_wakes_nobody_who_waits_for_another_registration(desk: Desk) -> None:
    desk.dispatch(make_dispatch(0))
    n_looks = 0

    def look() -> bool:
        nonlocal n_looks
        n_looks += 1
        return False

    def wait() -> None:
        with desk._changed:
            desk._changed.wait_for(look, 0.3)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        wait_until(lambda: n_looks == 1)
        desk.hear_monitor(FromMonitor(acknowledged=["rrun.0.1"]))
        waiting.result()
    assert n_looks == 2, "at the beginning and at the end"


def test_gathering_names_who_has_not_spoken() -> None:
    assert Desk("inc", ["file"]).wait_gathered(0.0) == ["execution process", "monitor process"]
