"""The main process of an operator engine: `python -m operator_engine.main SETTINGS.json`.

It takes batches of tasks over HTTP, hands them to the execution process, and remembers each
attempt until its end is acknowledged. It keeps no file: after a restart it learns from its children
and the executors what there is, and from the dag engine what of it is wanted.
"""

from __future__ import annotations

import logging
import secrets
import sys
import threading
from collections.abc import Callable

from executors.base import AlgorithmOffer, BaseExecutor
from executors.catalogue import load_catalogue
from executors.store import read_marker
from executors.transport.http_server import HttpServer
from operator_engine.children import ChildServer
from operator_engine.desk import Desk
from operator_engine.front import Front
from operator_engine.process import begin, wait_for_stop
from operator_engine.registrar import Registrar
from operator_engine.registry import make_executor
from operator_engine.settings import EngineSettings, write_private_json

log = logging.getLogger(__name__)

_UPKEEP_S = 1.0
_LAST_REPORTS_S = 1.0


class Main:
    """The parts of the main process, wired together."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._executors: dict[str, BaseExecutor] = {}
        self._executors_lock = threading.Lock()
        self._stopped = threading.Event()
        settings.run_folder().mkdir(parents=True, exist_ok=True)
        # Whoever knows the incarnation may dispatch: it is shown nowhere.
        self._desk = Desk(secrets.token_hex(16), [entry.name for entry in settings.executors])
        front = Front(self._desk, self._get_executors, lambda: self._registrar.get_health())
        self._server = HttpServer(front.handle, settings.host, settings.port, name="engine-http")
        self.url = settings.advertise_url.rstrip("/") or self._server.url
        self._children = ChildServer(self._desk, settings.socket_path())
        self._registrar = Registrar(
            settings, self._desk, self.url, self._load_catalogue, self._read_marker
        )
        self._desk.on_new_leader = self._registrar.begin_anew

    def start(self) -> None:
        """Listen, and register once the children have said what they hold."""
        self._server.start()
        self._children.start()
        self._registrar.start()
        threading.Thread(target=self._keep_up, name="upkeep", daemon=True).start()
        write_private_json(
            self._settings.run_folder() / "operator_engine.json",
            {"url": self.url, "engine_id": self._settings.engine_id},
        )
        log.info("engine_listening url=%s engine_id=%s", self.url, self._settings.engine_id)

    def drain(self, on_empty: Callable[[], None]) -> None:
        """Let the dag engine hand out nothing more to this engine, and what is held end."""
        log.info("engine_draining")
        self._registrar.announce_leaving()
        self._desk.wait_empty(None)
        on_empty()

    def stop(self) -> None:
        """Stop accepting, and say good-bye. The catalogue outlives the engine."""
        self._stopped.set()
        # The pool has just ended what still ran; that is on its way to the dag engine.
        self._desk.wait_empty(_LAST_REPORTS_S)
        self._registrar.leave()
        self._registrar.stop()
        self._desk.stop()
        self._server.close()
        self._children.close()

    def _keep_up(self) -> None:
        while not self._stopped.wait(_UPKEEP_S):
            self._desk.submit_overdue()

    def _get_executors(self) -> dict[str, BaseExecutor]:
        """Make main's executor clients when the first log is asked for."""
        with self._executors_lock:
            if not self._executors:
                self._executors = {
                    entry.name: make_executor(entry, self._settings)
                    for entry in self._settings.executors
                }
            return self._executors

    def _load_catalogue(self) -> list[AlgorithmOffer]:
        return load_catalogue(self._settings.home, self._settings.algorithm_paths)

    def _read_marker(self) -> str:
        return read_marker(self._settings.store_url) or ""


def main() -> None:
    """Run the main process until it is asked to end."""
    engine = Main(begin(sys.argv))
    engine.start()
    wait_for_stop(engine.drain)
    engine.stop()


if __name__ == "__main__":
    main()
