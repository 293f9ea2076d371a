"""What every process of the operator engine does at its start and end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import types
from pathlib import Path

from operator_engine.errors import EngineError
from operator_engine.settings import EngineSettings, read_engine_settings


def begin(arguments: list[str]) -> EngineSettings:
    """Start logging to stderr and read the settings file named on the command line.

    Ends the process with a sentence where it cannot be read.
    """
    start_logging()
    if len(arguments) != 2:
        sys.exit(f"usage: python -m {Path(arguments[0]).stem} SETTINGS.json")
    try:
        return read_engine_settings(Path(arguments[1]))
    except EngineError as error:
        sys.exit(str(error))


def start_logging() -> None:
    """Log to stderr; the launcher gathers it."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(process)d %(name)s %(message)s",
        stream=sys.stderr,
    )


def wait_for_stop() -> None:
    """Wait, in the main thread, until the launcher or the user asks this process to end."""
    stop = threading.Event()

    def on_signal(number: int, frame: types.FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    stop.wait()
