"""Which of several workers takes a new connection."""

from __future__ import annotations

import socket
from array import array

import pytest
from gunicorn.workers.gthread import ThreadWorker

from dag_engine.api import server
from dag_engine.api.server import ApiWorker

NOBODY = 2**62


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(server.time, "sleep", lambda seconds: done.append("waits"))
    monkeypatch.setattr(ThreadWorker, "accept", lambda worker, listener: done.append("accepts"))
    monkeypatch.setattr(ThreadWorker, "notify", lambda worker: done.append("lives"))
    return done


def make_worker(held: list[int], *, place: int, n_held: int) -> ApiWorker:
    worker = ApiWorker.__new__(ApiWorker)
    worker.held = memoryview(array("q", held))
    worker.place = place
    worker.nr_conns = n_held
    return worker


@pytest.mark.parametrize(
    ("held", "n_held", "expected"),
    [
        ([3, 2, NOBODY], 3, ["waits", "accepts"]),
        ([2, 3, NOBODY], 2, ["accepts"]),
        ([2, 2, NOBODY], 2, ["accepts"]),
        ([5, NOBODY, NOBODY], 5, ["accepts"]),
    ],
    ids=["another holds fewer", "holds fewest", "all hold the same", "alone"],
)
def test_connection_is_left_to_who_holds_fewer(
    steps: list[str], held: list[int], n_held: int, expected: list[str]
) -> None:
    worker = make_worker(held, place=0, n_held=n_held)

    with socket.socket() as listener:
        worker.accept(listener)

    assert steps == expected


def test_each_sign_of_life_tells_how_much_is_held(steps: list[str]) -> None:
    worker = make_worker([0] * 64, place=1, n_held=7)

    worker.notify()

    assert list(worker.held[:3]) == [0, 7, 0]
    assert steps == ["lives"]
