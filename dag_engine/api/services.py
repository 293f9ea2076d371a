"""What the calls of one api process share: database, scheduler, feed, catalogue."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from functools import cache, cached_property
from typing import Any, cast

import msgspec
from flask import Flask, current_app

from dag_engine.api.aged import AgedFigure
from dag_engine.api.durations import RequestDurations
from dag_engine.api.errors import ApiError
from dag_engine.api.feed import RunFeed
from dag_engine.api.flood import FloodGate
from dag_engine.api.hints import StartHints
from dag_engine.api.scheduler_client import SchedulerClient
from dag_engine.api.streams import StreamSlots
from dag_engine.api.wellbeing import Since
from dag_engine.config import Config, read_secret
from dag_engine.core.access import is_loopback
from dag_engine.core.catalogue import Catalogue
from dag_engine.core.dagfile import SealedNames
from dag_engine.core.plan import Plan
from dag_engine.storage import catalogue as stored_catalogue
from dag_engine.storage import leader as stored_leader
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tokens as stored_tokens
from dag_engine.storage.database import Database, open_database
from dag_engine.storage.token_book import TokenBook
from dag_engine.storage.vault import Vault

log = logging.getLogger(__name__)

_EXTENSION = "dagengine"
_STATUS_TIMEOUT_S = 1.0
_PLANS_KEPT = 32
_LARGE_PLAN = 1_000
"""Of so many tasks: then it takes ten milliseconds and more."""


class PlanMemory:
    """Plans never change, so those of the runs that are looked at are kept, and large new ones."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Plan] = OrderedDict()

    def get(self, namespace: str, run_id: str) -> Plan:
        """Return the plan of a run of this namespace, or raise `NotFoundError`."""
        key = namespace, run_id
        with self._lock:
            plan = self._kept.get(key)
            if plan is not None:
                self._kept.move_to_end(key)
                return plan
        plan = stored_runs.load_plan(self._services.database, namespace, run_id)
        self._keep(key, plan)
        return plan

    def note_new(self, namespace: str, run_id: str, plan: Plan) -> None:
        """Keep the plan of a run that was just accepted, if to read it again would take long."""
        if len(plan.tasks) >= _LARGE_PLAN:
            self._keep((namespace, run_id), plan)

    def _keep(self, key: tuple[str, str], plan: Plan) -> None:
        with self._lock:
            self._kept[key] = plan
            while len(self._kept) > _PLANS_KEPT:
                self._kept.popitem(last=False)


class Services:
    """Made before the fork and filled after it: nothing is opened before the first request."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tokens = TokenBook(
            lambda deadline_s: stored_tokens.load_tokens(self.database, deadline_s=deadline_s),
            is_required=not is_loopback(config.server.host),
        )
        self.durations = RequestDurations()
        self.flood = FloodGate(
            config.server.max_starts_per_s,
            config.server.max_open_runs,
            lambda namespace: stored_runs.count_open_of(self.database, namespace),
        )
        self.slots = StreamSlots(max(2, config.server.threads // 2), self.durations.note_stream)
        self.since = Since()
        self.run_counts = AgedFigure(lambda: stored_runs.count_runs(self.database))
        self.open_tasks = AgedFigure(lambda: stored_runs.count_open(self.database).tasks)
        self.scheduler = SchedulerClient(self._find_leader, self.secret)
        self.hints = StartHints(self.scheduler.hint)
        self.feed = RunFeed(self.scheduler.leader, self.secret)
        self.is_stopping = False
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._catalogue: Catalogue | None = None
        self.plans = PlanMemory(self)
        self.vault = Vault(config, lambda: self.database)

    @property
    def database(self) -> Database:
        """The database, opened by the first request of this process."""
        with self._lock:
            if self._database is None:
                self._database = open_database(self.config)
            return self._database

    @cached_property
    def _secret(self) -> str:
        return read_secret(self.config.home)

    def secret(self) -> str:
        """Return the installation's secret; empty where there is none."""
        return self._secret

    def sealed_names(self, namespace: str) -> SealedNames:
        """Return the connections and secrets that a namespace's runs may name."""
        return SealedNames(
            self.vault.names(namespace, "connection"),
            self.vault.names(namespace, "secret"),
            # Asked once for each name, however many operators bear it.
            cache(lambda kind, name: self.vault.find_version(namespace, kind, name, self.secret())),
        )

    def catalogue(self) -> Catalogue:
        """Return what the operator engines offer, loaded anew when its revision has moved."""
        revision = stored_catalogue.read_revision(self.database)
        with self._lock:
            kept = self._catalogue
        if kept is None or kept.revision != revision:
            kept = stored_catalogue.load_catalogue(self.database)
            with self._lock:
                self._catalogue = kept
        return kept

    def scheduler_status(self) -> dict[str, Any]:
        """Return what the scheduler that leads tells of itself; empty where it does not answer."""
        try:
            reply = self.scheduler.send("GET", "/status", b"", timeout_s=_STATUS_TIMEOUT_S)
            status = msgspec.json.decode(reply.body, type=dict) if reply.status == 200 else {}
        except (ApiError, msgspec.DecodeError) as error:
            log.info("scheduler_figures_missing detail=%s", error)
            return {}
        return status

    def _find_leader(self) -> str:
        leader = stored_leader.get_leader(self.database)
        return leader.url if leader is not None and leader.is_leading else ""

    def close(self) -> None:
        """End the feed and close all connections."""
        self.feed.close()
        self.scheduler.close()
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def install_services(app: Flask, services: Services) -> None:
    """Keep the services with an application."""
    app.extensions[_EXTENSION] = services


def services_of(app: Flask) -> Services:
    """Return the services of an application."""
    return cast("Services", app.extensions[_EXTENSION])


def services() -> Services:
    """Return the services of the application that answers this request."""
    return services_of(current_app)
