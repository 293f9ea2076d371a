"""What the calls of one api process share: database, scheduler, feed, catalogue."""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import cached_property
from typing import cast

from flask import Flask, current_app

from dag_engine.api.durations import RequestDurations
from dag_engine.api.feed import RunFeed
from dag_engine.api.guard import is_loopback
from dag_engine.api.scheduler_client import SchedulerClient
from dag_engine.api.streams import StreamSlots
from dag_engine.config import Config
from dag_engine.core.catalogue import Catalogue
from dag_engine.core.plan import Plan
from dag_engine.storage import catalogue as stored_catalogue
from dag_engine.storage import leader as stored_leader
from dag_engine.storage import runs as stored_runs
from dag_engine.storage import tokens as stored_tokens
from dag_engine.storage.database import Database, open_database

NAMESPACE = "default"
SYSTEM_NAMESPACE = "system"
_EXTENSION = "dagengine"
_PLANS_KEPT = 32


class PlanMemory:
    """Plans never change, so those of the runs that are looked at are kept."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Plan] = OrderedDict()

    def get(self, run_id: str) -> Plan:
        """Return the plan of a run that is known to exist."""
        with self._lock:
            plan = self._kept.get(run_id)
            if plan is not None:
                self._kept.move_to_end(run_id)
                return plan
        plan = stored_runs.load_plan(self._services.database, NAMESPACE, run_id)
        with self._lock:
            self._kept[run_id] = plan
            while len(self._kept) > _PLANS_KEPT:
                self._kept.popitem(last=False)
        return plan


class Services:
    """Made before the fork and filled after it: nothing is opened before the first request."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.needs_tokens = not is_loopback(config.server.host)
        self.durations = RequestDurations()
        self.slots = StreamSlots(max(2, config.server.threads // 2))
        self.scheduler = SchedulerClient(self._find_leader, self.secret)
        self.feed = RunFeed(self.scheduler.leader, self.secret)
        self.is_stopping = False
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._catalogue: Catalogue | None = None
        self.plans = PlanMemory(self)

    @property
    def database(self) -> Database:
        """The database, opened by the first request of this process."""
        with self._lock:
            if self._database is None:
                self._database = open_database(self.config)
            return self._database

    @cached_property
    def _secret(self) -> str:
        path = self.config.home / "secret"
        return path.read_text(encoding="ascii").strip() if path.exists() else ""

    def secret(self) -> str:
        """Return the installation's secret; empty where there is none."""
        return self._secret

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

    def token_digests(self) -> frozenset[str]:
        """Return the digests of all tokens that are good now."""
        return frozenset(stored_tokens.list_digests(self.database))

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
