"""What an attempt may claim to have made: files of its own folder, or small values that came along.

Whoever bears an attempt's token can report what it likes; without this it could hand any file of
the store, or of the machine, to the operators downstream and to whoever reads outputs.
"""

from __future__ import annotations

import re

import msgspec

from dag_engine.core.live import LiveRun, LiveTask, find_input
from dag_engine.core.work_keys import FITTED_ON, find_fitted_on
from executors.base import INLINE_LIMIT_BYTES, ArtifactRef, Outcome
from executors.store import make_attempt_folder

LARGEST_FACTS_BYTES = 1024 * 1024
"""So long may a reference with all its facts be, and all metrics together: what no database lets in
would be taken for a database that is away, and waited for.
"""

_NAME = re.compile(r"\w[\w.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_encode = msgspec.json.encode


def check_outputs(outcome: Outcome, store_url: str, run: LiveRun, task: LiveTask) -> Outcome:
    """Return the outcome of a task's present attempt, or a failure where it claims what no attempt
    can have made.
    """
    if outcome.metrics and len(_encode(outcome.metrics)) > LARGEST_FACTS_BYTES:
        text = f"Its metrics are longer than {LARGEST_FACTS_BYTES} bytes."
        return _refuse(outcome, text)
    for port, ref in enumerate(outcome.outputs):
        if why := _find_fault(ref, store_url, run, task):
            text = f"Output {port} was reported as what no attempt can have made: {why}."
            return _refuse(outcome, text)
    return outcome


def _refuse(outcome: Outcome, text: str) -> Outcome:
    return msgspec.structs.replace(
        outcome, state="failed", reason="invalid_output", message=text, outputs=[], metrics={}
    )


def _find_fault(ref: ArtifactRef, store_url: str, run: LiveRun, task: LiveTask) -> str:
    if fault := _find_length_fault(ref):
        return fault
    is_plain = not ref.uri and FITTED_ON not in ref.meta
    row = task.row
    folder = "" if is_plain else make_attempt_folder(store_url, run.run_id, row.index, row.attempt)
    if fault := _find_place_fault(ref, folder):
        return fault
    return "" if is_plain else _find_table_fault(ref, folder, run, task)


def _find_length_fault(ref: ArtifactRef) -> str:
    n_bytes = len(_encode(ref))
    if n_bytes <= INLINE_LIMIT_BYTES:
        return ""
    if n_bytes > LARGEST_FACTS_BYTES:
        return f"what is told of it is longer than {LARGEST_FACTS_BYTES} bytes"
    if ref.inline is not None and len(_encode(ref.inline)) > INLINE_LIMIT_BYTES:
        return f"a value of more than {INLINE_LIMIT_BYTES} bytes is stored in a file"
    return ""


def _find_place_fault(ref: ArtifactRef, folder: str) -> str:
    if not ref.uri:
        return "" if ref.inline is not None else "it has neither a place nor a value"
    place, _, name = ref.uri.rpartition("/")
    if place != folder or not _NAME.fullmatch(name):
        return f"{ref.uri[:200]!r} is no file of the attempt's folder"
    if ref.size_bytes < 0 or not _DIGEST.fullmatch(ref.sha256):
        return "its size or digest is none"
    return ""


def _find_table_fault(ref: ArtifactRef, folder: str, run: LiveRun, task: LiveTask) -> str:
    """Look at the table that a model names as the one it was fitted on: whoever takes the model may
    read that. It came in, by itself or with a model, or was made by the same attempt.
    """
    known: set[tuple[str, str]] | None = None
    while (told := ref.meta.get(FITTED_ON)) is not None:
        try:
            ref = msgspec.convert(told, ArtifactRef)
        except msgspec.ValidationError as error:
            return f"`{FITTED_ON}` is no reference: {error}"
        if known is None:
            known = _list_inputs(run, task)
        if (ref.uri, ref.sha256) not in known and (fault := _find_place_fault(ref, folder)):
            return f"it was not fitted on an input, and {fault}"
    return ""


def _list_inputs(run: LiveRun, task: LiveTask) -> set[tuple[str, str]]:
    """List place and digest of all that came in, with the tables that models were fitted on."""
    known: set[tuple[str, str]] = set()
    for edge in (edge for port in task.plan.inputs for edge in port):
        ref: ArtifactRef | None = find_input(run, edge)
        while ref is not None:
            if ref.uri:
                known.add((ref.uri, ref.sha256))
            ref = find_fitted_on(ref)
    return known
