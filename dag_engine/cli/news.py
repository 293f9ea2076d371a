"""What a running service says on the terminal: few lines, and only what people should know."""

from __future__ import annotations

import datetime as dt
import logging
import re
import signal
import threading
from pathlib import Path

import click

_LOOK_S = 1.0
_IMPORTANT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b")
_GRAVE = re.compile(r"\b(ERROR|CRITICAL)\b")
_MOMENT = re.compile(r"^\d{4}-\d\d-\d\d [\d:,.]+ ")
_MAX_LINE = 400


def say(text: str) -> None:
    """Say a line with the time, on stderr."""
    clock = dt.datetime.now().astimezone().strftime("%H:%M:%S")
    click.echo(f"{clock} {text}", err=True)


class NewsHandler(logging.Handler):
    """Says what the launcher itself logs; a death with the last line of the log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say a log record."""
        event, facts = parse_event(record.getMessage())
        if event == "process_died":
            say(describe_death(facts))
        else:
            say(f"{record.levelname.lower()}: {record.getMessage()}")


def parse_event(message: str) -> tuple[str, dict[str, str]]:
    """Parse an event name with its fields.

    Examples
    --------
    >>> parse_event("process_died name=api pid=7")
    ('process_died', {'name': 'api', 'pid': '7'})
    """
    event, _, rest = message.partition(" ")
    return event, dict(re.findall(r"(\w+)=(\S+)", rest))


def describe_death(facts: dict[str, str]) -> str:
    """Describe how a process died, what its log ends with, and when it is started again."""
    code = int(facts.get("exit_code", "0"))
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    else:
        how = f"ended by itself with exit code {code}"
    pause_s = float(facts.get("restart_in_s", "0"))
    again = f"in {pause_s:g} s" if pause_s else "now"
    line = _read_last_line(Path(facts.get("log", "")))
    return (
        f"{facts.get('name')} (process {facts.get('pid')}) {how}; it is started again {again}"
        f"{': ' if line else ''}{line}"
    )


def _read_last_line(path: Path) -> str:
    try:
        lines = path.read_bytes()[-4096:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1][:_MAX_LINE] if lines else ""


class LogNews:
    """Follows the services' logs and says their warnings and errors.

    Until they are ready, services wait for each other and warn of it: then errors alone are news.
    """

    def __init__(self, folder: Path, names: list[str], is_ready: threading.Event) -> None:
        self._folder = folder
        self._is_ready = is_ready
        # what stands in the logs of former starts is no news
        self._offsets = {name: self._measure(name) for name in names}

    def run(self, is_over: threading.Event) -> None:
        """Look once a second until it is over; what services say while they end is no news."""
        while not is_over.wait(_LOOK_S):
            self.look()
        say("stopping")

    def look(self) -> None:
        """Say what was logged since the last look."""
        wanted = _IMPORTANT if self._is_ready.is_set() else _GRAVE
        for name in self._offsets:
            for line in self._read_new(name):
                if wanted.search(line[:120]):
                    say(f"{name}: {_MOMENT.sub('', line)[:_MAX_LINE]}")

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
