import os
import signal

import pytest

from executors.local.book import Attempt
from executors.local.deaths import describe_death, signal_name
from executors.local.messages import TaskHead


def make_attempt(cause: str = "", detail: str = "") -> Attempt:
    head = TaskHead(attempt_id="r.1.1", timeout_s=2.5)
    return Attempt("r.1.1", head, cause=cause, detail=detail)


def make_result(code: int, status: int) -> os.waitid_result:
    return os.waitid_result((1, 0, signal.SIGCHLD, status, code))


@pytest.mark.parametrize(
    ("cause", "code", "status", "is_out_of_memory", "expected"),
    [
        ("", os.CLD_EXITED, 3, False, ("failed", "exited", 3, None)),
        ("", os.CLD_EXITED, 0, True, ("failed", "exited", 0, None)),
        ("", os.CLD_KILLED, 9, False, ("failed", "killed", None, 9)),
        ("", os.CLD_KILLED, 9, True, ("failed", "out_of_memory", None, 9)),
        ("", os.CLD_KILLED, 15, True, ("failed", "killed", None, 15)),
        ("", os.CLD_DUMPED, 11, False, ("failed", "segfault", None, 11)),
        ("", os.CLD_KILLED, 7, False, ("failed", "segfault", None, 7)),
        ("", os.CLD_KILLED, 6, False, ("failed", "killed", None, 6)),
        ("cancel", os.CLD_KILLED, 9, True, ("cancelled", "", None, None)),
        ("timeout", os.CLD_KILLED, 9, True, ("failed", "timeout", None, None)),
        ("memory", os.CLD_KILLED, 9, False, ("failed", "out_of_memory", None, None)),
        ("processes", os.CLD_KILLED, 9, True, ("failed", "too_many_processes", None, None)),
    ],
)
def test_death_has_its_name(
    cause: str,
    code: int,
    status: int,
    is_out_of_memory: bool,
    expected: tuple[str, str, int | None, int | None],
) -> None:
    attempt = make_attempt(cause, "used 9 MiB" if cause in ("memory", "processes") else "")
    result = make_result(code, status)
    outcome = describe_death(attempt, result, is_out_of_memory=is_out_of_memory)
    assert (outcome.state, outcome.reason, outcome.exit_code, outcome.signal) == expected
    assert outcome.kind == "ended"
    assert outcome.message


def test_timeout_says_the_limit() -> None:
    attempt = make_attempt("timeout")
    outcome = describe_death(attempt, make_result(os.CLD_KILLED, 9), is_out_of_memory=False)
    assert "2.5 s" in outcome.message


def test_signal_without_a_name_is_named_by_its_number() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(40) == "signal 40"
