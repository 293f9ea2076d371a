"""Starts a scheduler process: `python -m dag_engine.scheduler <settings file>`."""

from __future__ import annotations

import functools
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

from dag_engine.config import Config, SchedulerConfig, list_secrets, read_secret, read_settings
from dag_engine.core.access import is_loopback
from dag_engine.garbage import spare_passes
from dag_engine.scheduler.housekeeping import HousekeepingThread
from dag_engine.scheduler.http import SchedulerServer
from dag_engine.scheduler.library import StoredLibrary
from dag_engine.scheduler.loop import Scheduler
from dag_engine.scheduler.settings import Surroundings
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage import tokens as stored_tokens
from dag_engine.storage.database import open_database
from dag_engine.storage.scheduler_store import SchedulerStore
from dag_engine.storage.token_book import TokenBook
from dag_engine.storage.vault import Vault
from executors.masking import mask_logging
from executors.store import ensure_marker
from executors.transport.http_server import HttpServer


def main() -> int:
    """Schedule until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = read_settings(Path(sys.argv[1]))
    secret = read_secret(config.home)
    if not secret:
        # without one, anybody could make the tokens of attempts
        raise SystemExit(f"{config.home}/secret holds nothing; `dagengine dag-engine` makes one.")
    mask_logging([secret, *list_secrets(config)])
    database = open_database(config)
    servers: list[SchedulerServer] = []
    http = HttpServer(
        lambda request: servers[0].handle(request),
        config.scheduler.host,
        config.scheduler.port,
        name="scheduler",
    )
    url = _public_url(http, config.scheduler)
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    scheduler = Scheduler(
        store=SchedulerStore(
            database,
            holder=holder,
            url=url,
            lease_s=config.scheduler.leader_lease_s,
        ),
        surroundings=_look_around(config, secret, url, Vault(config, lambda: database)),
        lease_s=config.scheduler.leader_lease_s,
    )
    tokens = TokenBook(
        lambda deadline_s: stored_tokens.load_tokens(database, deadline_s=deadline_s),
        is_required=not is_loopback(config.server.host),
    )
    servers.append(SchedulerServer(scheduler, secret, tokens.find))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: scheduler.stop())
    housekeeping = HousekeepingThread(
        lambda: open_database(config, pool_size=1),
        config.store_url,
        config.retention,
        lambda: scheduler.reign is not None,
        holder=holder,
        figures=scheduler.surroundings.figures,
    )
    spare_passes()
    http.start()
    housekeeping.start()
    scheduler.run()
    housekeeping.stop()
    http.close()
    scheduler.store.close()
    return 0


def _public_url(http: HttpServer, config: SchedulerConfig) -> str:
    """Return the URL that others reach this server by; a wildcard address is named by the host."""
    if config.advertise_url:
        return config.advertise_url.rstrip("/")
    if config.host in ("0.0.0.0", "::"):
        return f"http://{socket.gethostbyname(socket.gethostname())}:{http.port}"
    return http.url


def _look_around(config: Config, secret: str, url: str, vault: Vault) -> Surroundings:
    return Surroundings(
        tokens=AttemptTokens(secret),
        store_url=config.store_url,
        store_marker=ensure_marker(config.store_url),
        reports_url=url,
        heartbeat_s=config.scheduler.heartbeat_s,
        engine_lease_s=config.scheduler.engine_lease_s,
        queue_limits={name: queue.limit for name, queue in config.queues.items()},
        open_secrets=vault.open,
        open_library=functools.partial(
            StoredLibrary, lambda: open_database(config, pool_size=1), config.store_url
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
