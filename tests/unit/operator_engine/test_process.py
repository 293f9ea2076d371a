"""How a process of the operator engine waits for the signal that ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITS = """
    import os, signal, sys, threading, time
    from operator_engine.process import wait_for_stop

    before = signal.getsignal(signal.SIGINT)

    def give() -> None:
        while signal.getsignal(signal.SIGINT) is before:  # it is set last
            time.sleep(0.001)
        time.sleep(0.1)  # by then the main thread waits; if not, no harm is done
        for name in sys.argv[1:]:
            signal.pthread_kill(threading.get_ident(), getattr(signal, name))
        time.sleep(60)

    threading.Thread(target=give, daemon=True).start()
    wait_for_stop(lambda finish: (print("drained"), finish()))
    print("ended")
"""


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["SIGTERM"], "ended"),
        (["SIGINT"], "ended"),
        (["SIGUSR1"], "drained\nended"),
    ],
)
def test_a_signal_that_another_thread_was_given_ends_the_wait(names: list[str], said: str) -> None:
    code = "\n".join(line[4:] for line in WAITS.splitlines())
    ran = subprocess.run(
        [sys.executable, "-c", code, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, said), ran.stderr


def test_signals_that_follow_each_other_at_once_end_the_wait() -> None:
    code = "from operator_engine.process import wait_for_stop; print('ready', flush=True)\n"
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", code + "wait_for_stop()"], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            while not _catches(process.pid, signal.SIGTERM):
                pass
            process.send_signal(signal.SIGUSR1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


def _catches(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        caught = next(line.split()[1] for line in status if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)
