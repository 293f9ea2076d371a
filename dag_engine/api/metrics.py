"""Figures for Prometheus, read from the database and the scheduler at every scrape.

Whatever would cost more than a look at an index is remembered for a while. Labels bear names of
engines, queues, states and reasons only: their number is bounded.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dag_engine.api.services import Services
from dag_engine.api.wellbeing import own_folders
from dag_engine.storage import engines as stored_engines
from dag_engine.storage import leader as stored_leader
from dag_engine.storage import schema
from dag_engine.storage.errors import DatabaseUnavailableError
from executors.disks import measure_disks

log = logging.getLogger(__name__)


class ServiceCollector(Collector):
    """Collects all figures of one scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Give the figures; what cannot be had just now is left out."""
        is_up = True
        try:
            yield from self._stored()
        except DatabaseUnavailableError as error:
            log.warning("figures_missing detail=%s", error.detail)
            is_up = False
        yield _gauge("database_up", "Whether the database answers.", int(is_up))
        if is_up:
            yield from self._scheduled()
        yield from self._on_this_machine()
        yield from self._services.durations.collect()

    # --- from the database ---

    def _stored(self) -> Iterator[Metric]:
        here = self._services
        began = time.monotonic()
        is_current = schema.is_schema_current(here.database)
        took_s = time.monotonic() - began
        yield _gauge("database_answer_seconds", "How long a small question took.", took_s)
        yield _gauge("schema_current", "Whether the tables are as needed.", int(is_current))
        yield _by_label("runs", "Runs by state.", "state", here.run_counts.get())
        tasks = here.open_tasks.get()
        yield _by_label("open_tasks", "Tasks of runs that are not over.", "state", tasks)
        engines = {
            engine.id: int(engine.is_alive) for engine in stored_engines.list_engines(here.database)
        }
        yield _by_label("operator_engine_up", "Operator engines.", "engine", engines)
        yield from self._told_by_leader_row()
        yield from self._told_by_signs()

    def _told_by_leader_row(self) -> Iterator[Metric]:
        leader = stored_leader.get_leader(self._services.database)
        if leader is not None:
            yield _gauge(
                "leader_epoch",
                "Rises by 1 whenever the lead changes hands, and by more at a restore.",
                leader.epoch,
            )

    def _told_by_signs(self) -> Iterator[Metric]:
        signs = stored_leader.list_components(self._services.database)
        fresh = [one for one in signs if one.is_live_scheduler]
        n_leading = sum(one.is_leading for one in fresh)
        counts = {"leading": n_leading, "standing_by": len(fresh) - n_leading}
        yield _by_label("schedulers", "Schedulers that are alive.", "role", counts)
        moments = {
            one.kind: one.heartbeat_at.timestamp()
            for one in signs
            if one.kind in ("backup", "housekeeping")
        }
        for kind, what in (("backup", "backup"), ("housekeeping", "look for what is old")):
            if kind in moments:
                yield _gauge(f"last_{kind}_timestamp_seconds", f"Last {what}.", moments[kind])

    # --- from the scheduler that leads ---

    def _scheduled(self) -> Iterator[Metric]:
        status = self._services.scheduler_status()
        yield _gauge(
            "scheduler_leads", "Whether a scheduler leads.", int(bool(status.get("leads")))
        )
        if not status.get("leads"):
            return
        yield _gauge("live_runs", "Runs that the scheduler holds.", status["live_runs"])
        yield _gauge("inbox_length", "Messages that the scheduler has not read.", status["inbox"])
        yield _by_label("queue_length", "Tasks that wait.", "queue", status["waiting"])
        yield _by_label(
            "waiting_tasks", "Tasks that wait, by reason.", "reason", status["waiting_why"]
        )
        yield from _engine_figures(status["engines"])
        yield from _work_figures(status["figures"])

    # --- from this machine ---

    def _on_this_machine(self) -> Iterator[Metric]:
        config = self._services.config
        disks = measure_disks(own_folders(config))
        free = {name: disk.free_bytes for name, disk in disks.items()}
        total = {name: disk.total_bytes for name, disk in disks.items()}
        yield _by_label("disk_free_bytes", "Room on the disk of a folder.", "folder", free)
        yield _by_label("disk_size_bytes", "Size of the disk of a folder.", "folder", total)
        try:
            path = config.home / "run" / "restarts.json"
            restarts = json.loads(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            restarts = {}
        yield _count("process_restarts", "Processes that died here.", ("name",), {
            (name,): n for name, n in restarts.items()
        })  # fmt: skip


def _engine_figures(engines: list[dict[str, Any]]) -> Iterator[Metric]:
    def by_engine(name: str, about: str, values: Mapping[str, float]) -> Metric:
        return _by_label(name, about, "engine", values)

    facts = {engine["id"]: engine["facts"] for engine in engines}
    yield by_engine(
        "handed_out", "Tasks at operator engines.", {one["id"]: one["out"] for one in engines}
    )
    yield by_engine("engine_slots", "Tasks at once.", {one["id"]: one["slots"] for one in engines})
    yield by_engine(
        "engine_silent_seconds",
        "Time since an engine was heard of.",
        {one["id"]: one["silent_s"] for one in engines},
    )
    yield by_engine(
        "unacknowledged_ends",
        "Ends known at an engine and not yet stored.",
        {name: fact.get("n_unacknowledged", 0) for name, fact in facts.items()},
    )
    yield by_engine(
        "oldest_unacknowledged_seconds",
        "For how long the oldest of them is known.",
        {name: fact.get("oldest_unacknowledged_s", 0.0) for name, fact in facts.items()},
    )
    free = GaugeMetricFamily(
        "dagengine_engine_disk_free_bytes",
        "Room on an engine's disks.",
        labels=["engine", "folder"],
    )
    for name, fact in sorted(facts.items()):
        for folder, disk in sorted(fact.get("disks", {}).items()):
            free.add_metric([name, folder], disk["free_bytes"])
    yield free
    restarts: dict[tuple[str, ...], float] = {
        (name, process): n
        for name, fact in facts.items()
        for process, n in fact.get("restarts", {}).items()
    }
    yield _count(
        "engine_process_restarts", "Processes that died at an engine.", ("engine", "name"), restarts
    )


def _work_figures(figures: Mapping[str, Any]) -> Iterator[Metric]:
    yield _histogram("commit_duration_seconds", "How long commits took.", figures["commits"])
    yield _histogram("commit_rows", "Rows of a commit.", figures["rows"])
    yield _gauge(
        "commit_under_way_seconds", "How long the present commit takes.", figures["committing_s"]
    )
    verdicts: dict[tuple[str, ...], float] = {(word,): n for word, n in figures["verdicts"].items()}
    yield _count("reports", "Reports by what became of them.", ("verdict",), verdicts)
    refused: dict[tuple[str, ...], float] = {(code,): n for code, n in figures["refused"].items()}
    yield _count("refused_calls", "Calls of engines that were refused.", ("code",), refused)
    ends: dict[tuple[str, ...], float] = {
        (state, reason): n for state, reason, n in figures["ends"]
    }
    yield _count("task_ends", "Tasks that ended or are tried again.", ("state", "reason"), ends)
    yield _count("clock_jumps", "Jumps of the wall clock.", (), {(): figures["clock_jumps"]})


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dagengine_{name}", about, value=value)


def _by_label(name: str, about: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dagengine_{name}", about, labels=[label])
    for word, value in sorted(values.items()):
        family.add_metric([word], value)
    return family


def _count(
    name: str, about: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"dagengine_{name}", about, labels=labels)
    for words, value in sorted(values.items()):
        family.add_metric(list(words), value)
    return family


def _histogram(name: str, about: str, shown: Mapping[str, Any]) -> HistogramMetricFamily:
    bounds = [*map(str, shown["bounds"]), "+Inf"]
    buckets = list(zip(bounds, accumulate(shown["counts"]), strict=True))
    return HistogramMetricFamily(
        f"dagengine_{name}", about, buckets=buckets, sum_value=shown["sum"]
    )
