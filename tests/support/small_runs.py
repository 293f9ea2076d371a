"""A load of small runs: posted under an Idempotency-Key until accepted, and counted afterwards.

What a client may see while something is restarted is a broken connection or a 503 that says when to
come again; anything else is kept as unexpected.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import requests

from tests.support.waiting import wait_until

_PAUSE_S = 0.1
_TIMEOUT_S = 6.0
_EDGES = {"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()}


def make_small_dag(ledger: Path, name: str = "small") -> dict[str, Any]:
    """Four operators that add up numbers and write down that they ran."""
    details = {
        operator: {"algo_name": "crash_step", "params": {"ledger": str(ledger), "value": 1}}
        for operator in _EDGES
    }
    rels = {
        source: [{"target": target, "source_index": 0, "target_index": 0} for target in targets]
        for source, targets in _EDGES.items()
    }
    return {
        "dag": {
            "name": name,
            "operator_list": list(_EDGES),
            "operator_rels": rels,
            "operator_details": details,
        }
    }


class SmallRuns:
    """Posts runs from a few threads, at the given APIs in turn, while the block lasts."""

    def __init__(self, urls: list[str], ledger: Path, n_threads: int = 2) -> None:
        self.accepted: dict[str, str] = {}
        self.unexpected: list[str] = []
        self.asked: set[str] = set()
        self.n_refused = 0
        self.slowest_refusal_s = 0.0
        self._urls = urls
        self._ledger = ledger
        self._body = json.dumps(make_small_dag(ledger)).encode()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(n_threads)]

    def __enter__(self) -> SmallRuns:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._stopped.wait(_PAUSE_S):
                key = secrets.token_hex(8)
                self.asked.add(key)
                for url in itertools.cycle(self._urls):
                    if self.post(session, url, key) or self._stopped.is_set():
                        break
                    self._stopped.wait(_PAUSE_S)

    def post(self, session: requests.Session, url: str, key: str) -> bool:
        """Post once; true where it need not be repeated."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        began = time.monotonic()
        try:
            reply = session.post(
                f"{url}/api/v1/runs", data=self._body, headers=headers, timeout=_TIMEOUT_S
            )
        except requests.RequestException:
            self._note_refusal(began)
            return False
        if reply.status_code == 503 and reply.headers.get("Retry-After"):
            self.n_refused += 1
            self._note_refusal(began)
            return False
        if reply.status_code == 202:
            self.accepted[key] = str(reply.json()["id"])
        else:
            self.unexpected.append(f"{reply.status_code} {reply.text[:300]}")
        return True

    def _note_refusal(self, began: float) -> None:
        self.slowest_refusal_s = max(self.slowest_refusal_s, time.monotonic() - began)

    def wait_for_more(self, number: int, timeout_s: float = 60.0) -> None:
        """Wait until so many more runs have been accepted."""
        wanted = len(self.accepted) + number
        wait_until(
            lambda: len(self.accepted) >= wanted,
            timeout_s,
            lambda: f"{len(self.accepted)} of {wanted} accepted; {self.unexpected[:3]}",
        )

    def check(self, url: str, timeout_s: float = 120.0) -> None:
        """Every accepted run succeeds, all of it ran, and none of its attempts twice."""
        assert self.unexpected == []
        for run_id in self.accepted.values():
            wait_until(lambda run_id=run_id: _is_over(url, run_id), timeout_s, f"{run_id} goes on")
            run = _get(url, f"runs/{run_id}")
            assert run["state"] == "succeeded", (run, _get(url, f"runs/{run_id}/tasks"))
        lines = Counter(self._ledger.read_text().splitlines())
        twice = {line: count for line, count in lines.items() if count > 1}
        assert twice == {}, f"attempts that were executed twice: {twice}"
        n_ran = Counter(
            task.partition(" ")[0] for task in {line.rpartition(" ")[0] for line in lines}
        )
        assert all(n_ran[run_id] == len(_EDGES) for run_id in self.accepted.values()), n_ran

    def count_extra_attempts(self) -> int:
        """Count the attempts beside the first one of each task."""
        lines = {line.rpartition(" ")[0] for line in self._ledger.read_text().splitlines()}
        return len(self._ledger.read_text().splitlines()) - len(lines)


def _is_over(url: str, run_id: str) -> bool:
    run = _get(url, f"runs/{run_id}", wait_s=2)
    return run.get("state") in ("succeeded", "failed", "cancelled")


def _get(url: str, path: str, **params: Any) -> dict[str, Any]:
    try:
        reply = requests.get(f"{url}/api/v1/{path}", params=params, timeout=30)
    except requests.RequestException:
        return {}
    return dict(reply.json()) if reply.status_code == 200 else {}
