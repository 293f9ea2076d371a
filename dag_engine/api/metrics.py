"""Figures for Prometheus, read from the database and the scheduler at every scrape."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from dag_engine.api.errors import ApiError
from dag_engine.api.services import Services
from dag_engine.storage import engines as stored_engines
from dag_engine.storage import runs as stored_runs
from dag_engine.storage.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

_STATUS_TIMEOUT_S = 1.0


class ServiceCollector(Collector):
    """Collects all figures of one scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily | HistogramMetricFamily]:
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
        yield from self._services.durations.collect()

    def _stored(self) -> Iterator[GaugeMetricFamily]:
        database = self._services.database
        runs = stored_runs.count_runs(database)
        yield _by_label("runs", "Runs by state.", "state", runs)
        tasks = stored_runs.count_open(database).tasks
        yield _by_label("open_tasks", "Tasks of runs that are not over.", "state", tasks)
        engines = {
            engine.id: int(engine.is_alive) for engine in stored_engines.list_engines(database)
        }
        yield _by_label("operator_engine_up", "Operator engines.", "engine", engines)

    def _scheduled(self) -> Iterator[GaugeMetricFamily]:
        status: dict[str, Any] = {}
        try:
            reply = self._services.scheduler.send(
                "GET", "/status", b"", timeout_s=_STATUS_TIMEOUT_S
            )
            status = msgspec.json.decode(reply.body) if reply.status == 200 else {}
        except (ApiError, msgspec.DecodeError) as error:
            log.info("scheduler_figures_missing detail=%s", error)
        yield _gauge(
            "scheduler_leads", "Whether a scheduler leads.", int(bool(status.get("leads")))
        )
        if status.get("leads"):
            yield _gauge("live_runs", "Runs that the scheduler holds.", status["live_runs"])
            yield _by_label("queue_length", "Tasks that wait.", "queue", status["waiting"])
            handed_out = {engine["id"]: engine["out"] for engine in status["engines"]}
            yield _by_label("handed_out", "Tasks at operator engines.", "engine", handed_out)


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"dagengine_{name}", about, value=value)


def _by_label(name: str, about: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dagengine_{name}", about, labels=[label])
    for word, value in sorted(values.items()):
        family.add_metric([word], value)
    return family
