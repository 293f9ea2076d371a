"""The execution process: `python -m operator_engine.execution SETTINGS.json`.

It takes tasks from main and hands them to the executors, one lane for each.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections import defaultdict

import msgspec

from executors.base import Outcome, Task
from executors.sealing import open_task
from operator_engine.lane import Lane
from operator_engine.link import MainLink
from operator_engine.messages import ExecutionHello, FromExecution, ToExecution
from operator_engine.process import begin, wait_for_stop
from operator_engine.registry import make_executor
from operator_engine.sealing_key import read_private_key
from operator_engine.settings import EngineSettings

log = logging.getLogger(__name__)

_DECODER = msgspec.json.Decoder(ToExecution)


class Execution:
    """The lanes of all executors, and the link to main."""

    def __init__(self, settings: EngineSettings) -> None:
        self._home = settings.home
        self._lanes = {
            entry.name: Lane(
                entry.name,
                functools.partial(make_executor, entry, settings),
                self._tell,
                self._unseal,
            )
            for entry in settings.executors
        }
        self._link = MainLink(
            settings.socket_path(), "execution", self._make_hello, self._on_payload
        )

    def start(self) -> None:
        """Start the lanes, then listen to main."""
        for lane in self._lanes.values():
            lane.start()
        self._link.start()

    def stop(self) -> None:
        """End the lanes; what runs goes on."""
        self._link.close()
        for lane in self._lanes.values():
            lane.stop()

    def _unseal(self, task: Task) -> Task:
        if not task.sealed:
            return task
        return open_task(task, read_private_key(self._home))

    def _on_payload(self, payload: bytes) -> None:
        message = _DECODER.decode(payload)
        cancels: defaultdict[str, list[str]] = defaultdict(list)
        for order in message.cancels:
            cancels[order.executor].append(order.attempt_id)
        tasks: defaultdict[str, list[Task]] = defaultdict(list)
        for task in message.tasks:
            tasks[task.executor].append(task)
        for name, lane in self._lanes.items():
            if name in cancels:
                lane.cancel(cancels[name])
            if name in tasks:
                lane.put(tasks[name])
            if message.forget:
                lane.forget(message.forget)

    def _make_hello(self) -> bytes:
        waiting: list[Task] = []
        submitted: list[Task] = []
        ended: list[Outcome] = []
        for lane in self._lanes.values():
            lane_waiting, lane_submitted, lane_ended = lane.held()
            waiting += lane_waiting
            submitted += lane_submitted
            ended += lane_ended
        hello = ExecutionHello(waiting=waiting, submitted=submitted, ended=ended)
        return msgspec.json.encode(FromExecution(hello=hello))

    def _tell(self, submitted: list[str], ended: list[Outcome]) -> None:
        self._link.send(FromExecution(submitted=submitted, ended=ended))


def main() -> None:
    """Run the execution process until it is asked to end."""
    execution = Execution(begin(sys.argv))
    execution.start()
    wait_for_stop()
    execution.stop()


if __name__ == "__main__":
    main()
