"""How an attempt failed: an exception becomes a reason, a sentence, a hint and a traceback."""

from __future__ import annotations

import errno
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any

from algorithms.base import AlgorithmDefinitionError, AlgorithmError
from executors.runtime.errors import AttemptCancelledError, RuntimeFailureError

if TYPE_CHECKING:
    from executors.base import FailureReason
    from executors.masking import Masker

MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 32_000
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def describe_failure(error: BaseException, masker: Masker | None = None) -> dict[str, Any]:
    """Return the fields of an outcome that tell how an attempt ended, without its secrets."""
    fields = _describe(error)
    for name, limit in (("message", MESSAGE_LIMIT), ("hint", MESSAGE_LIMIT), ("traceback", 0)):
        text = fields.get(name, "")
        if text:
            # Masked before it is cut: the half of a secret at a cut would not be known again.
            text = masker.mask(text) if masker else text
            fields[name] = make_encodable(text[:limit] if limit else _cut_middle(text))
    return fields


def _describe(error: BaseException) -> dict[str, Any]:
    if isinstance(error, AttemptCancelledError | KeyboardInterrupt):
        return _describe_cancel(error)
    if isinstance(error, AlgorithmError):
        return _fail("invalid_input", error.message, error.hint)
    if _is_disk_full(error):
        return _fail("disk_full", _get_message(error), "Free space on the worker or the store.")
    if isinstance(error, RuntimeFailureError):
        return _fail(error.reason, error.message, error.hint)
    if isinstance(error, AlgorithmDefinitionError):
        return _fail("error", str(error), "Run `dagengine algorithms check` on the algorithm.")
    if isinstance(error, MemoryError):
        return _fail(
            "out_of_memory",
            f"No memory was left: {_get_message(error)}",
            "Give the operator more memory (run.resources.memory_mb), or less data.",
            _format_traceback(error),
        )
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        failure = _fail("exited", f"The algorithm ended its process with code {code}.")
        return {**failure, "exit_code": code, "traceback": _format_traceback(error)}
    return _fail("error", _get_message(error), "", _format_traceback(error))


def _describe_cancel(error: BaseException) -> dict[str, Any]:
    number = error.signal_number if isinstance(error, AttemptCancelledError) else 2
    fields: dict[str, Any] = {"state": "cancelled", "message": "Stopped on request."}
    if number is not None:
        fields["signal"] = number
    return fields


def _fail(
    reason: FailureReason, message: str, hint: str = "", traceback_text: str = ""
) -> dict[str, Any]:
    return {
        "state": "failed",
        "reason": reason,
        "message": message,
        "hint": hint,
        "traceback": traceback_text,
    }


def _is_disk_full(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK_FULL:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _get_message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - an error of user code may not even be printable
        text = f"(its message cannot be shown: {type(broken).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _format_traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(
            type(error), error, _skip_own_frames(error.__traceback__), chain=True
        )
        return "".join(lines)
    except Exception:  # noqa: BLE001 - see _get_message
        return _get_message(error)


def _cut_middle(text: str) -> str:
    if len(text) <= TRACEBACK_LIMIT:
        return text
    half = TRACEBACK_LIMIT // 2
    return f"{text[:half]}\n  …\n{text[-half:]}"


def _skip_own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package, which say nothing to whoever wrote the algorithm."""
    own = trace
    while own is not None and own.tb_frame.f_globals.get("__name__", "").startswith(
        "executors.runtime"
    ):
        own = own.tb_next
    return own or trace


def make_encodable(text: str) -> str:
    """Replace lone surrogates, which no JSON may hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
