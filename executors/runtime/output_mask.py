"""Takes secrets out of everything that an attempt writes to stdout and stderr, whoever writes it:
the algorithm, a C library, or a process that it started.

Both go through a pipe into a process that does nothing else. A thread could not do it: a library
that fills the pipe while it holds the interpreter's lock would wait for itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from executors.masking import PROCESS_NAME, MaskedStream, Masker

_libc = ctypes.CDLL(None)
_READ_SIZE = 64 * 1024
_END_LIMIT_S = 2.0


@contextlib.contextmanager
def mask_output(masker: Masker | None) -> Iterator[None]:
    """Filter file descriptors 1 and 2 until the end of the block; None filters nothing."""
    if masker is None:
        yield
        return
    flush_all_output()
    saved = [os.dup(1), os.dup(2)]
    try:
        pid = _redirect(masker, saved)
        try:
            yield
        finally:
            flush_all_output()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            _wait(pid)
    finally:
        for descriptor in saved:
            os.close(descriptor)


def _redirect(masker: Masker, saved: list[int]) -> int:
    """Start the filter and let 1 and 2 write to it; return its process id."""
    is_one = os.path.samestat(os.fstat(saved[0]), os.fstat(saved[1]))
    pipes = [os.pipe() for _ in range(1 if is_one else 2)]
    targets = dict(zip([pipe[0] for pipe in pipes], saved, strict=False))
    try:
        pid = _fork()
        if pid == 0:
            _filter(masker, targets)
        os.dup2(pipes[0][1], 1)
        os.dup2(pipes[-1][1], 2)
    finally:
        for pipe in pipes:
            for descriptor in pipe:
                os.close(descriptor)
    return pid


def _fork() -> int:
    with warnings.catch_warnings():
        # It warns where there are threads; the child touches nothing that they may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _filter(masker: Masker, targets: dict[int, int]) -> NoReturn:
    """Be the filter: end when nobody can write any more."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.setpgrp()  # a dead worker's group is killed at one blow; its last words are to be kept
        _close_all_but({*targets, *targets.values()})
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text(PROCESS_NAME, encoding="ascii")
        streams = {source: masker.open_stream() for source in targets}
        poller = select.poll()
        for source in targets:
            poller.register(source, select.POLLIN)
        while streams:
            for source, _ in poller.poll():
                if not _pass_on(source, targets[source], streams[source]):
                    poller.unregister(source)
                    del streams[source]
    finally:
        os._exit(0)


def _pass_on(source: int, target: int, stream: MaskedStream) -> bool:
    """Pass on what has come; False at the end."""
    data = os.read(source, _READ_SIZE)
    _write(target, stream.feed(data) if data else stream.finish())
    return bool(data)


def _write(target: int, data: bytes) -> None:
    # Where the disk is full the log ends; the task must not wait for it.
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(target, data) :]


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):
                os.close(int(name))


def flush_all_output() -> bool:
    """Write out what Python and C libraries still hold, also in streams that an algorithm has
    replaced; False where one of them cannot be written.
    """
    is_sound = True
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:  # noqa: BLE001 - the disk is full, or the algorithm put there what it likes
            is_sound = False
    _libc.fflush(None)
    return is_sound


def _wait(pid: int) -> None:
    """Wait until the filter has written all; not for a process that still holds its pipe."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        descriptor = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if poller.poll(_END_LIMIT_S * 1000):
                os.waitpid(pid, 0)
        finally:
            os.close(descriptor)
