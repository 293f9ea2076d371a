import os
import time

from executors.local.loop import Loop


def run_until(loop: Loop, delay_s: float) -> None:
    loop.call_after(delay_s, loop.stop)
    loop.run(lambda: None)


def test_timers_run_in_the_order_of_their_moments() -> None:
    loop = Loop()
    seen: list[str] = []
    loop.call_after(0.02, lambda: seen.append("second"))
    loop.call_after(0.01, lambda: seen.append("first"))
    run_until(loop, 0.03)
    assert seen == ["first", "second"]


def test_cancelled_timer_is_not_run() -> None:
    loop = Loop()
    seen: list[str] = []
    timer = loop.call_after(0.0, lambda: seen.append("cancelled"))
    timer.cancel()
    timer.cancel()
    run_until(loop, 0.01)
    assert seen == []


def test_cancelled_timers_of_the_far_future_are_thrown_away() -> None:
    loop = Loop()
    for _ in range(5000):
        loop.call_after(3600.0, lambda: None).cancel()
    assert len(loop._timers) <= 1001


def test_readable_descriptor_is_told_and_the_round_is_flushed_after_it() -> None:
    loop = Loop()
    reader, writer = os.pipe()
    seen: list[str] = []

    def read(mask: int) -> None:
        seen.append(os.read(reader, 100).decode())
        loop.stop()

    loop.watch(reader, read, 1)
    os.write(writer, b"hello")
    loop.run(lambda: seen.append("flush"))
    assert seen == ["hello", "flush"]
    loop.forget(reader)
    os.close(reader)
    os.close(writer)


def test_loop_with_nothing_due_waits_for_its_timer() -> None:
    loop = Loop()
    n_rounds = 0

    def count() -> None:
        nonlocal n_rounds
        n_rounds += 1

    loop.call_after(0.1, loop.stop)
    begun = time.monotonic()
    loop.run(count)
    assert time.monotonic() - begun >= 0.1
    assert n_rounds <= 2
