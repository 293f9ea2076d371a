"""Starts the api: `python -m dag_engine.api <settings file> [fd://N]`."""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path

from flask import Flask

from dag_engine.api.app import create_app
from dag_engine.api.errors import BindRefusedError
from dag_engine.api.server import ApiServer, listen_url
from dag_engine.api.services import services_of
from dag_engine.api.uploads import remove_leftovers, spare_folder
from dag_engine.config import Config, list_secrets, read_secret, read_settings
from dag_engine.core.access import is_loopback
from dag_engine.garbage import spare_passes
from dag_engine.storage import tokens as stored_tokens
from dag_engine.storage.database import open_database
from dag_engine.storage.errors import DatabaseUnavailableError
from executors.local.linux import die_with_parent
from executors.masking import mask_logging

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; with `fd://N` on a socket that the starter has bound."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = read_settings(Path(arguments[0]))
    hide_secrets = partial(mask_logging, [read_secret(config.home), *list_secrets(config)])
    hide_secrets()
    bind = arguments[1] if len(arguments) > 1 else ""
    try:
        check_bind(config)
    except BindRefusedError as error:
        log.error("bind_refused %s", error)  # noqa: TRY400 - the sentence says all
        return 2
    remove_leftovers(config.store_url, spare_folder(config.home), time.time())
    app = create_app(config)
    log.info("api_listening url=%s", listen_url(config.server, bind))
    spare_passes()  # before the fork: the workers share what is never looked at
    master = os.getpid()
    ApiServer(
        lambda: app,
        config.server,
        bind,
        prepare_worker=lambda place: _prepare(app, place, master),
        prepare_log=hide_secrets,
    ).run()
    return 0


def check_bind(config: Config) -> None:
    """Refuse to listen beyond this machine while no token keeps strangers out."""
    if is_loopback(config.server.host):
        return
    database = open_database(config, pool_size=1)
    try:
        if not stored_tokens.list_digests(database):
            raise BindRefusedError(config.server.host)
    except DatabaseUnavailableError as error:
        # every request asks for a token all the same
        log.warning("tokens_not_counted detail=%s", error)
    finally:
        database.close()


def _prepare(app: Flask, place: int, master: int) -> None:
    # Without its master a worker would finish its requests first, and hold the port meanwhile.
    die_with_parent(master)
    services_of(app).durations.take_place(place)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
