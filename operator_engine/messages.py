"""What main, execution and monitor process say to each other over main's Unix socket.

Each message is a batch: whatever has gathered since the last one. A message may be lost with the
process that sent it; what matters is said again in the next hello.
"""

from __future__ import annotations

import msgspec

from executors.base import Outcome, OutcomeKind, Task


class _Frame(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of the messages: JSON without what is at its default."""


class CancelOrder(_Frame, frozen=True, kw_only=True):
    """An attempt to cancel, and the executor that has it."""

    attempt_id: str
    executor: str


class StageNote(_Frame, frozen=True, kw_only=True):
    """What an executor told last of an attempt."""

    attempt_id: str
    executor: str
    stage: OutcomeKind


class ToExecution(_Frame, frozen=True, kw_only=True):
    """Main to execution process: tasks to submit, attempts to cancel, attempts to forget."""

    tasks: list[Task] = []
    cancels: list[CancelOrder] = []
    forget: list[str] = []


class ExecutionHello(_Frame, frozen=True, kw_only=True):
    """What an execution process holds when it connects: tasks that it has not forgotten yet."""

    waiting: list[Task] = []
    submitted: list[Task] = []
    ended: list[Outcome] = []


class FromExecution(_Frame, frozen=True, kw_only=True):
    """Execution process to main: what was handed to executors, and what ended without them."""

    hello: ExecutionHello | None = None
    submitted: list[str] = []
    ended: list[Outcome] = []


class ToMonitor(_Frame, frozen=True, kw_only=True):
    """Main to monitor process.

    `tokens` are those of new attempts, `outcomes` ends that no executor tells, `acknowledged`
    attempts whose end is stored already, `forget` attempts that nobody wants any more. The address
    of the reports and the incarnation are set once main is registered.
    """

    tokens: dict[str, str] = {}
    outcomes: list[Outcome] = []
    acknowledged: list[str] = []
    forget: list[str] = []
    incarnation: str = ""
    reports_url: str = ""


class MonitorHello(_Frame, frozen=True, kw_only=True):
    """What a monitor process knows when it connects.

    `polled` are the executors that have told all that they hold, `acknowledged` the ends that
    were acknowledged lately.
    """

    notes: list[StageNote] = []
    polled: list[str] = []
    acknowledged: list[str] = []


class FromMonitor(_Frame, frozen=True, kw_only=True):
    """Monitor process to main: stages that were told, ends that were acknowledged.

    `needs_answer` asks for the tokens of the attempts noted. `is_address_lost`: the dag engine no
    longer answers where it said that it takes reports.
    """

    hello: MonitorHello | None = None
    notes: list[StageNote] = []
    polled: list[str] = []
    acknowledged: list[str] = []
    needs_answer: bool = False
    is_address_lost: bool = False


class ChildHello(_Frame, frozen=True, kw_only=True):
    """First message of a child: which one it is."""

    role: str
    pid: int
