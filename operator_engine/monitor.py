"""The monitor process: `python -m operator_engine.monitor SETTINGS.json`.

It polls the executors and reports every outcome to the dag engine until it is acknowledged.
"""

from __future__ import annotations

import logging
import random
import sys
import threading

import msgspec

from executors.base import BaseExecutor
from executors.errors import ExecutorUnavailableError
from operator_engine.link import MainLink
from operator_engine.messages import ToMonitor
from operator_engine.process import begin, wait_for_stop
from operator_engine.registry import make_executor
from operator_engine.releasing import Releaser
from operator_engine.reporter import Reporter
from operator_engine.settings import EngineSettings, ExecutorEntry

log = logging.getLogger(__name__)

_DECODER = msgspec.json.Decoder(ToMonitor)
_FIRST_POLL_S = 0.5
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 2.0


class Monitor:
    """The pollers of all executors, the reporter and the link to main."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._executors: dict[str, BaseExecutor] = {}
        self._stopped = threading.Event()
        self._releaser = Releaser(
            self._executors.get,
            settings.logs_folder(),
            settings.store_url,
            is_folder_in_store=settings.are_logs_in_store(),
        )
        self._reporter = Reporter(
            settings.engine_id,
            settings.dag_engine_url,
            settings.token,
            self._tell_main,
            self._releaser.put,
        )
        self._link = MainLink(
            settings.socket_path(), "monitor", self._reporter.make_hello, self._on_payload
        )

    def start(self) -> None:
        """Start polling and reporting."""
        self._releaser.start()
        self._reporter.start()
        self._link.start()
        for entry in self._settings.executors:
            threading.Thread(
                target=self._poll, args=(entry,), name=f"poll-{entry.name}", daemon=True
            ).start()

    def stop(self) -> None:
        """Stop reporting; what is not acknowledged is told again after a restart."""
        self._stopped.set()
        self._reporter.stop()
        self._releaser.stop()
        self._link.close()

    def _tell_main(self, message: msgspec.Struct) -> bool:
        return self._link.send(message)

    def _on_payload(self, payload: bytes) -> None:
        self._reporter.hear_main(_DECODER.decode(payload))

    def _poll(self, entry: ExecutorEntry) -> None:
        """Poll one executor for ever."""
        pause_s = _FIRST_PAUSE_S
        is_first = True
        while not self._stopped.is_set():
            try:
                executor = self._get_executor(entry)
                outcomes = executor.poll(_FIRST_POLL_S if is_first else self._settings.poll_s)
            except ExecutorUnavailableError as error:
                log.warning("executor_unavailable executor=%s detail=%s", entry.name, error.detail)
            except Exception:
                # A third party's code: its fault must not end the reports of all the others.
                log.exception("poll_failed executor=%s", entry.name)
            else:
                pause_s = _FIRST_PAUSE_S
                if outcomes or is_first:
                    self._reporter.hear_executor(entry.name, outcomes, is_first=is_first)
                is_first = False
                continue
            self._stopped.wait(pause_s * random.uniform(0.7, 1.0))
            pause_s = min(_MAX_PAUSE_S, pause_s * 2)

    def _get_executor(self, entry: ExecutorEntry) -> BaseExecutor:
        if entry.name not in self._executors:
            self._executors[entry.name] = make_executor(entry, self._settings)
        return self._executors[entry.name]


def main() -> None:
    """Run the monitor process until it is asked to end."""
    monitor = Monitor(begin(sys.argv))
    monitor.start()
    wait_for_stop()
    monitor.stop()


if __name__ == "__main__":
    main()
