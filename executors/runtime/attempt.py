"""Carry out one attempt: load inputs, call the algorithm, store outputs, tell how it ended."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from executors.bare_signals import DEFAULT, get_handler, set_handler
from executors.base import ExecutorSettings, Outcome, Task
from executors.masking import Masker, make_task_masker
from executors.runtime.artifacts import store_outputs
from executors.runtime.context import AttemptContext
from executors.runtime.errors import AttemptCancelledError
from executors.runtime.failures import describe_failure
from executors.runtime.loading import LoadedAlgorithm, load_algorithm
from executors.runtime.output_mask import mask_output
from executors.runtime.parameters import validate_params
from executors.runtime.threads import announce_threads, limit_threads

_HOST = socket.gethostname()


def run_attempt(
    task: Task,
    settings: ExecutorSettings,
    tell: Callable[[Outcome], None],
    is_cancelled: Callable[[], bool],
) -> Outcome:
    """Carry out a task and return its end; raises nothing, whatever the algorithm does.

    Parameters
    ----------
    task : Task
        The attempt. Its entry must come from a catalogue, never from a user.
    settings : ExecutorSettings
        Of the operator engine that the attempt belongs to.
    tell : callable
        Takes outcomes of kind `progress` while the algorithm runs.
    is_cancelled : callable
        Tells whether someone asked to stop; asked before the start, before outputs are stored, and
        whenever the algorithm asks.

    Returns
    -------
    Outcome
        Of kind `ended`. The caller has directed stdout and stderr to the attempt's log. The secrets
        that the task brings are taken out of both, and out of the log.
    """
    started_at = dt.datetime.now(dt.UTC)
    context: AttemptContext | None = None
    fields: dict[str, Any]
    masker = make_task_masker(task)
    try:
        with _TerminationSignal(), mask_output(masker):
            context = AttemptContext(task, settings, tell, is_cancelled, masker)
            outputs = _carry_out(task, context, is_cancelled, masker)
            fields = {"state": "succeeded", "outputs": outputs}
    except BaseException as error:  # noqa: BLE001 - the edge of user code: all becomes an outcome
        fields = describe_failure(error, masker)
    if context is not None:
        fields["metrics"] = context.metrics
        fields["progress"] = context.last_progress
        fields["has_read_seed"] = context.has_read_seed
        context.close()
    return Outcome(
        attempt_id=task.attempt_id,
        kind="ended",
        started_at=started_at,
        ended_at=dt.datetime.now(dt.UTC),
        worker=f"{_HOST}:{os.getpid()}",
        **fields,
    )


def _carry_out(
    task: Task, context: AttemptContext, is_cancelled: Callable[[], bool], masker: Masker | None
) -> Any:
    if is_cancelled():
        raise AttemptCancelledError
    with context.catch_warnings():
        announce_threads(task.resources.cpu)
        loaded = load_algorithm(task.entry, task.code_version)
        limit_threads(task.resources.cpu)
        params = validate_params(loaded.info.params, task.params)
        _warn_of_deprecated(context, loaded, task.params)
        inputs = _load_inputs(context, loaded, task)
        result = loaded.info.function(context, params, *inputs)
        if is_cancelled():
            raise AttemptCancelledError
        return store_outputs(task, loaded.info.outputs, result, lambda: context.workdir, masker)


def _load_inputs(context: AttemptContext, loaded: LoadedAlgorithm, task: Task) -> list[Any]:
    ports = loaded.info.inputs
    edges = list(task.inputs) + [[] for _ in range(len(ports) - len(task.inputs))]
    return [
        context.reader.load_port(port, brought, as_arrow=as_arrow)
        for port, brought, as_arrow in zip(ports, edges, loaded.wants_arrow, strict=True)
    ]


def _warn_of_deprecated(
    context: AttemptContext, loaded: LoadedAlgorithm, params: dict[str, Any]
) -> None:
    for name in params:
        if name in loaded.deprecated:
            context.log.warning("Parameter %s is deprecated: %s.", name, loaded.deprecated[name])


class _TerminationSignal:
    """Turns SIGTERM into the end of the attempt, so that half-written outputs are removed.

    Nothing is done where the worker has a handler of its own, or outside the main thread.
    """

    _is_ours = False

    def __enter__(self) -> None:
        if (
            threading.current_thread() is threading.main_thread()
            and get_handler(signal.SIGTERM) == DEFAULT
        ):
            set_handler(signal.SIGTERM, _end_attempt)
            self._is_ours = True

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            set_handler(signal.SIGTERM, DEFAULT)


def _end_attempt(signal_number: int, _frame: FrameType | None) -> None:
    raise AttemptCancelledError(signal_number)
