"""What an attempt may claim to have made: files of its own folder, or small values that came along.

Whoever bears an attempt's token can report what it likes; without this it could hand any file of
the store, or of the machine, to the operators downstream and to whoever reads outputs.
"""

from __future__ import annotations

import re

import msgspec

from executors.base import ArtifactRef, Outcome
from executors.store import make_attempt_folder

_NAME = re.compile(r"\w[\w.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_outputs(
    outcome: Outcome, store_url: str, run_id: str, index: int, attempt: int
) -> Outcome:
    """Return the outcome, or a failure where it claims what an attempt cannot have made."""
    folder = make_attempt_folder(store_url, run_id, index, attempt)
    for port, ref in enumerate(outcome.outputs):
        if why := _find_fault(ref, folder):
            return msgspec.structs.replace(
                outcome,
                state="failed",
                reason="invalid_output",
                message=f"Output {port} was reported as what no attempt can have made: {why}.",
                outputs=[],
            )
    return outcome


def _find_fault(ref: ArtifactRef, folder: str) -> str:
    if not ref.uri:
        return "" if ref.inline is not None else "it has neither a place nor a value"
    place, _, name = ref.uri.rpartition("/")
    if place != folder or not _NAME.fullmatch(name):
        return f"{ref.uri[:200]!r} is no file of the attempt's folder"
    if ref.size_bytes < 0 or not _DIGEST.fullmatch(ref.sha256):
        return "its size or digest is none"
    return ""
