"""What a running service says on the terminal: few lines, and only what people should know."""

from __future__ import annotations

import datetime as dt
import logging
import re
import threading
from pathlib import Path

import click

_LOOK_S = 1.0
_IMPORTANT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_MAX_LINE = 400


def say(text: str) -> None:
    """Say a line with the time, on stderr."""
    clock = dt.datetime.now().astimezone().strftime("%H:%M:%S")
    click.echo(f"{clock} {text}", err=True)


class NewsHandler(logging.Handler):
    """Says what the launcher itself logs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say a log record."""
        say(f"{record.levelname.lower()}: {record.getMessage()}")


class LogNews:
    """Follows the services' logs and says their warnings and errors."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        # what stands in the logs of former starts is no news
        self._offsets = {name: self._measure(name) for name in names}

    def run(self, is_over: threading.Event) -> None:
        """Look once a second until it is over."""
        while not is_over.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Say what was logged since the last look."""
        for name in self._offsets:
            for line in self._read_new(name):
                if _IMPORTANT.search(line[:120]):
                    say(f"{name}: {line[:_MAX_LINE]}")

    def _read_new(self, name: str) -> list[str]:
        size, offset = self._measure(name), self._offsets[name]
        if size < offset:
            offset = 0  # the log was rotated
        if size == offset:
            return []
        with (self._folder / f"{name}.log").open("rb") as file:
            file.seek(offset)
            data = file.read(1 << 20)
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[name] = offset + len(whole)
        return whole.decode(errors="replace").splitlines()

    def _measure(self, name: str) -> int:
        try:
            return (self._folder / f"{name}.log").stat().st_size
        except OSError:
            return 0
