"""What the pool supervisor, its clients and its workers say to each other.

The supervisor passes tasks and outcomes on as the bytes they came in; it reads only `TaskHead`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from executors.base import Resources


class TaskHead(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a task that the supervisor needs."""

    attempt_id: str
    timeout_s: float | None = None
    resources: Resources = Resources()


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a client asks. `submit`, `stage` and `status` are answered, in order."""

    op: Literal["submit", "cancel", "release", "subscribe", "stage", "status"]
    tasks: list[msgspec.Raw] = []
    ids: list[str] = []


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a command. `stage` is `accepted`, `started`, `ended` or empty (not held).

    `refused` says why, for those of the tasks submitted that are not taken, by their place.
    """

    error: str = ""
    refused: dict[int, str] = {}
    stage: str = ""
    status: dict[str, Any] = {}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber is told; first, in one or more pieces, the present stage of all that is
    held. `is_more`: the next piece belongs to this one.
    """

    outcomes: list[msgspec.Raw]
    is_more: bool = False


class WorkerWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker says.

    `born`: its process id, told by whoever forked it. `ready`: it takes tasks. `progress` and
    `end` carry an outcome; `end` also says why the worker should be replaced, if it should, how
    long the attempt's log is, why no cgroup could be entered, and why a log was lost.
    """

    kind: Literal["born", "ready", "progress", "end"]
    pid: int = 0
    attempt_id: str = ""
    outcome: msgspec.Raw = msgspec.Raw(b"null")
    retire: str = ""
    log_bytes: int = 0
    cgroup_error: str = ""
    log_error: str = ""


class TemplateWord(msgspec.Struct, frozen=True, kw_only=True):
    """What the template process says once it has imported what it could."""

    seconds: float
    n_threads: int
    failed: dict[str, str] = {}
