from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from executors.base import BaseExecutor, LogChunk, Outcome, Task
from executors.errors import ExecutorUnavailableError
from executors.sealing import make_private_key, open_task, public_key_of, seal_task
from operator_engine.errors import ExecutorLoadError
from operator_engine.lane import Lane
from tests.support.engine_rig import make_task
from tests.support.waiting import wait_until


class GatedExecutor(BaseExecutor):
    """Submits when its gate is open; is away while `is_down`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()
        self.is_down = False
        self.calls: list[tuple[str, str]] = []

    def submit(self, task: Task) -> str:
        self.entered.set()
        self.gate.wait(10)
        if self.is_down:
            raise ExecutorUnavailableError("gated", "down")
        self.calls.append(("submit", task.attempt_id))
        return task.attempt_id

    def poll(self, timeout_s: float) -> list[Outcome]:
        return []

    def cancel(self, handle: str) -> None:
        if self.is_down:
            raise ExecutorUnavailableError("gated", "down")
        self.calls.append(("cancel", handle))

    def read_log(self, handle: str, offset: int, limit: int) -> LogChunk:
        return LogChunk()

    def close(self) -> None:
        pass


class Told:
    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.ended: list[Outcome] = []

    def __call__(self, submitted: list[str], ended: list[Outcome]) -> None:
        self.submitted += submitted
        self.ended += ended


@pytest.fixture
def make_lane() -> Iterator[Callable[..., tuple[Lane, Told]]]:
    lanes: list[Lane] = []

    def make(factory: Callable[[], BaseExecutor]) -> tuple[Lane, Told]:
        told = Told()
        lane = Lane("gated", factory, told)
        lane.start()
        lanes.append(lane)
        return lane, told

    yield make
    for lane in lanes:
        lane.stop()


MakeLane = Callable[..., tuple[Lane, Told]]


def ids(*numbers: int) -> list[str]:
    return [f"rrun.{number}.1" for number in numbers]


def test_tasks_are_submitted_in_order_and_told(make_lane: MakeLane) -> None:
    executor = GatedExecutor()
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(number) for number in range(5)])
    wait_until(lambda: told.submitted == ids(0, 1, 2, 3, 4))
    assert [handle for _, handle in executor.calls] == ids(0, 1, 2, 3, 4)
    assert [task.attempt_id for task in lane.held()[1]] == ids(0, 1, 2, 3, 4)
    lane.forget(ids(0, 1, 2, 3))
    assert [task.attempt_id for task in lane.held()[1]] == ids(4)


def test_cancel_overtakes_the_tasks_that_wait(make_lane: MakeLane) -> None:
    executor = GatedExecutor()
    executor.gate.clear()
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(number) for number in range(3)])
    assert executor.entered.wait(10)
    lane.cancel(ids(7, 2, 0))
    executor.gate.set()
    wait_until(lambda: len(executor.calls) == 4)
    # Task 0 was on its way already, so the executor hears of its cancel; 2 never gets there.
    assert executor.calls == [
        ("submit", "rrun.0.1"),
        ("cancel", "rrun.7.1"),
        ("cancel", "rrun.0.1"),
        ("submit", "rrun.1.1"),
    ]
    assert [(end.attempt_id, end.state) for end in told.ended] == [("rrun.2.1", "cancelled")]


def test_task_waiting_for_a_back_end_can_be_cancelled(make_lane: MakeLane) -> None:
    executor = GatedExecutor()
    executor.is_down = True
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(0), make_task(1)])
    lane.cancel(ids(9, 1))
    wait_until(lambda: [end.attempt_id for end in told.ended] == ids(1))
    executor.is_down = False
    wait_until(lambda: len(executor.calls) == 2)
    assert sorted(executor.calls) == [("cancel", "rrun.9.1"), ("submit", "rrun.0.1")]


def test_task_put_twice_while_it_waits_is_submitted_once(make_lane: MakeLane) -> None:
    executor = GatedExecutor()
    executor.gate.clear()
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(0), make_task(1)])
    assert executor.entered.wait(10)
    lane.put([make_task(1)])
    executor.gate.set()
    wait_until(lambda: told.submitted == ids(0, 1))
    assert len(executor.calls) == 2


def test_executor_that_cannot_be_made_fails_each_task_with_the_reason(make_lane: MakeLane) -> None:
    def fail() -> BaseExecutor:
        raise ExecutorLoadError("gated", "install the package `gates`.")

    lane, told = make_lane(fail)
    lane.put([make_task(0), make_task(1)])
    wait_until(lambda: len(told.ended) == 2)
    assert {end.reason for end in told.ended} == {"error"}
    assert "install the package `gates`." in told.ended[0].message
    assert len(lane.held()[2]) == 2


class SeveralExecutor(GatedExecutor):
    """Takes three at once; refuses whom it is told to, and is away from one of them on."""

    most_at_once = 3

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[str]] = []
        self.refused: set[str] = set()
        self.away_from = ""

    def submit_some(self, tasks: Sequence[Task]) -> list[str | Exception]:
        self.entered.set()
        self.gate.wait(10)
        self.groups.append([task.attempt_id for task in tasks])
        told: list[str | Exception] = []
        for task in tasks:
            if task.attempt_id == self.away_from:
                return [*told, ExecutorUnavailableError("gated", "down")]
            is_refused = task.attempt_id in self.refused
            told.append(ValueError("not this one") if is_refused else task.attempt_id)
        return told


def test_tasks_that_gathered_are_submitted_together(make_lane: MakeLane) -> None:
    executor = SeveralExecutor()
    executor.gate.clear()
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(0)])
    assert executor.entered.wait(10)
    lane.put([make_task(number) for number in range(1, 6)])
    executor.refused = {"rrun.2.1"}
    executor.gate.set()
    wait_until(lambda: told.submitted == ids(0, 1, 3, 4, 5))
    assert executor.groups == [ids(0), ids(1, 2, 3), ids(4, 5)]
    assert [(end.attempt_id, end.reason) for end in told.ended] == [("rrun.2.1", "error")]
    assert "not this one" in told.ended[0].message


def test_back_end_that_goes_away_within_a_group_gets_the_rest_later(make_lane: MakeLane) -> None:
    executor = SeveralExecutor()
    executor.gate.clear()
    lane, told = make_lane(lambda: executor)
    lane.put([make_task(0)])
    assert executor.entered.wait(10)
    lane.put([make_task(1), make_task(2), make_task(3)])
    executor.away_from = "rrun.2.1"
    executor.gate.set()
    wait_until(lambda: executor.groups[1:3] == [ids(1, 2, 3), ids(2, 3)])
    executor.away_from = ""
    wait_until(lambda: told.submitted == ids(0, 1, 2, 3))
    assert told.ended == []


@pytest.mark.parametrize("answer", [[], None])
def test_executor_that_tells_nothing_of_its_tasks_ends_each_with_an_error(
    make_lane: MakeLane, answer: object
) -> None:
    class Mute(GatedExecutor):
        def submit_some(self, tasks: Sequence[Task]) -> list[str | Exception]:
            del tasks
            return answer

    lane, told = make_lane(Mute)
    lane.put([make_task(0), make_task(1)])
    wait_until(lambda: [end.attempt_id for end in told.ended] == ids(0, 1))
    assert {end.reason for end in told.ended} == {"error"}
    assert lane.held()[0] == []


def test_task_that_cannot_be_opened_does_not_end_the_lane() -> None:
    def unseal(task: Task) -> Task:
        if task.index == 0:
            raise FileNotFoundError("the private key is gone")
        return task

    lane, told = start_lane(GatedExecutor(), unseal)
    lane.put([make_task(0), make_task(1)])
    wait_until(lambda: told.submitted == ids(1))
    lane.stop()
    assert "the private key is gone" in told.ended[0].message


SECRET = "Kanarienvogel-4711"


class Talkative(GatedExecutor):
    """Says what it was given when it refuses."""

    def submit(self, task: Task) -> str:
        raise ValueError(f"bad task with {task.secrets} for {task}")


def seal(number: int) -> tuple[Task, Callable[[Task], Task]]:
    private = make_private_key()
    task = msgspec.structs.replace(make_task(number), secrets={"s": SECRET})
    return seal_task(task, public_key_of(private)), lambda task: open_task(task, private)


def start_lane(executor: BaseExecutor, unseal: Callable[[Task], Task]) -> tuple[Lane, Told]:
    told = Told()
    lane = Lane("gated", lambda: executor, told, unseal)
    lane.start()
    return lane, told


def test_only_the_executor_sees_secrets_in_plain() -> None:
    seen: list[Task] = []

    class Keeper(GatedExecutor):
        def submit(self, task: Task) -> str:
            seen.append(task)
            return super().submit(task)

    sealed, unseal = seal(0)
    lane, told = start_lane(Keeper(), unseal)
    lane.put([sealed])
    wait_until(lambda: told.submitted == ids(0))
    assert seen[0].secrets == {"s": SECRET}
    assert lane.held()[1] == [sealed]
    lane.stop()


def test_an_executor_that_tells_the_task_in_its_error_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sealed, unseal = seal(0)
    lane, told = start_lane(Talkative(), unseal)
    lane.put([sealed])
    wait_until(lambda: bool(told.ended))
    lane.stop()
    assert "bad task with {'s': '***'}" in told.ended[0].message
    assert SECRET not in told.ended[0].message + caplog.text
    assert "submit_failed" in caplog.text


def test_secrets_that_cannot_be_opened_end_the_attempt_and_not_the_lane() -> None:
    sealed, _ = seal(0)
    _, unseal = seal(1)
    executor = GatedExecutor()
    lane, told = start_lane(executor, unseal)
    lane.put([sealed, make_task(2)])
    wait_until(lambda: told.submitted == ids(2))
    lane.stop()
    assert [(end.state, "another key" in end.message) for end in told.ended] == [("failed", True)]
    assert lane.held()[0] == []
