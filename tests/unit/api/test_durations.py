import os

import pytest

from dag_engine.api.durations import RequestDurations


def samples(durations: RequestDurations) -> dict[tuple[str, str, str], float]:
    return {
        (sample.name.rpartition("_")[2], sample.labels["status"], sample.labels.get("le", "")): (
            sample.value
        )
        for family in durations.collect()
        if family.type == "histogram"
        for sample in family.samples
    }


def test_requests_are_counted_by_class_and_bound() -> None:
    durations = RequestDurations()
    durations.note(200, 0.004)
    durations.note(202, 0.2)
    durations.note(404, 99.0)

    found = samples(durations)

    assert found["bucket", "2xx", "0.005"] == 1
    assert found["bucket", "2xx", "0.25"] == 2
    assert found["count", "2xx", ""] == 2
    assert found["sum", "2xx", ""] == pytest.approx(0.204)
    assert found["bucket", "4xx", "10.0"] == 0
    assert found["bucket", "4xx", "+Inf"] == 1


def test_forked_workers_are_added_up() -> None:
    durations = RequestDurations()
    children = []
    for place in range(2):
        pid = os.fork()
        if pid == 0:
            durations.take_place(place)
            durations.note(200, 0.01)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)

    assert samples(durations)["count", "2xx", ""] == 2
