"""A client in a process of its own, which writes down every answer 202 outside the system:
`python -m tests.support.chaos.client SETTINGS.json`.

It posts small runs at a steady rate, each under an Idempotency-Key; after a broken connection, a
timeout or a 503 it repeats the same request with the same key, at another api where there is one.
SIGTERM asks it to end: what it has asked for is still repeated until it is answered.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import requests

from tests.support.chaos.shapes import STOPPED, draw_shape, make_dag

_REPEATED = frozenset({429, 503})
_TIMEOUT_S = (2.0, 6.0)
_AGAIN_SHARE = 0.06
_STORM_SHARE = 0.03
_STORM_SIZE = 6


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the client is told: the APIs, its logs, and how many runs a second it posts."""

    urls: list[str]
    seed: str
    ledger: str
    log: str
    runs_per_s: float
    n_threads: int = 4
    give_up_s: float = 60.0


class Client:
    """Posts runs from several threads until it is asked to stop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._log = os.open(settings.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._stop = threading.Event()

    def run(self) -> None:
        """Post until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        n_threads = self._settings.n_threads
        threads = [threading.Thread(target=self._post, args=(i,)) for i in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _post(self, place: int) -> None:
        settings = self._settings
        chance = random.Random(f"{settings.seed} client {place}")
        pause_s = settings.n_threads / settings.runs_per_s
        with requests.Session() as session:
            number = 0
            while not self._stop.wait(pause_s * chance.uniform(0.5, 1.5)):
                number += 1
                self._ask(session, f"{settings.seed}-{place}-{number}", chance)

    def _ask(self, session: requests.Session, key: str, chance: random.Random) -> None:
        """Ask for one run until it is acknowledged; at times many times at once, or once more."""
        shape = draw_shape(key)
        body = json.dumps(make_dag(shape, key, self._settings.ledger)).encode()
        self._write({"what": "asked", "key": key, "shape": shape.name})
        if chance.random() < _STORM_SHARE:
            self._storm(key, body)
        run_id = self._repeat(session, key, body, chance.randrange(100))
        if run_id is None:
            return
        if chance.random() < _AGAIN_SHARE:
            self._repeat(session, key, body, chance.randrange(100))
        if shape.name == STOPPED:
            self._cancel(session, run_id, chance)

    def _storm(self, key: str, body: bytes) -> None:
        def post(api: int) -> None:
            with requests.Session() as session:
                self._try(session, key, body, api)

        threads = [threading.Thread(target=post, args=(api,)) for api in range(_STORM_SIZE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _repeat(self, session: requests.Session, key: str, body: bytes, api: int) -> str | None:
        deadline = time.monotonic() + self._settings.give_up_s
        pause_s = 0.05
        while time.monotonic() < deadline:
            run_id = self._try(session, key, body, api)
            if run_id is not None:
                return run_id
            api += 1
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(1.0, pause_s * 2)
        self._write({"what": "gave up", "key": key})
        return None

    def _try(self, session: requests.Session, key: str, body: bytes, api: int) -> str | None:
        """Post once; an answer 202 is written down before anything else happens."""
        api %= len(self._settings.urls)
        began = time.monotonic()
        try:
            reply = session.post(
                f"{self._settings.urls[api]}/api/v1/runs",
                data=body,
                headers={"Content-Type": "application/json", "Idempotency-Key": key},
                timeout=_TIMEOUT_S,
            )
        except requests.RequestException:
            return None
        took_s = time.monotonic() - began
        if reply.status_code == 202:
            run_id = str(reply.json()["id"])
            self._write({"what": "acked", "key": key, "run": run_id, "api": api, "took_s": took_s})
            return run_id
        what = "refused" if reply.status_code in _REPEATED else "unexpected"
        text = reply.text[:500] if what == "unexpected" else ""
        fields = {"status": reply.status_code, "text": text, "api": api, "took_s": took_s}
        self._write({"what": what, "key": key, **fields})
        return None

    def _cancel(self, session: requests.Session, run_id: str, chance: random.Random) -> None:
        time.sleep(chance.uniform(0.0, 0.6))
        url = f"{self._settings.urls[chance.randrange(len(self._settings.urls))]}/api/v1"
        try:
            session.post(f"{url}/runs/{run_id}:cancel", timeout=_TIMEOUT_S)
        except requests.RequestException:
            return

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry | {"at": time.time()}) + "\n"
        os.write(self._log, line.encode())


def main() -> None:
    """Read the settings and post."""
    Client(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=ClientSettings)).run()


if __name__ == "__main__":
    main()
