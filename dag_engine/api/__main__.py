"""Starts the api: `python -m dag_engine.api <settings file> [fd://N]`."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from flask import Flask

from dag_engine.api.app import create_app
from dag_engine.api.errors import BindRefusedError
from dag_engine.api.guard import is_loopback
from dag_engine.api.server import ApiServer, listen_url
from dag_engine.api.services import Services, services_of
from dag_engine.api.uploads import remove_leftovers, spare_folder
from dag_engine.config import Config, read_settings
from dag_engine.storage.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; with `fd://N` on a socket that the starter has bound."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    config = read_settings(Path(arguments[0]))
    bind = arguments[1] if len(arguments) > 1 else ""
    try:
        check_bind(config)
    except BindRefusedError as error:
        log.error("bind_refused %s", error)  # noqa: TRY400 - the sentence says all
        return 2
    remove_leftovers(config.store_url, spare_folder(config.home), time.time())
    app = create_app(config)
    log.info("api_listening url=%s", listen_url(config.server, bind))
    ApiServer(lambda: app, config.server, bind, lambda place: _prepare(app, place)).run()
    return 0


def check_bind(config: Config) -> None:
    """Refuse to listen beyond this machine while no token keeps strangers out."""
    if is_loopback(config.server.host):
        return
    services = Services(config)
    try:
        if not services.token_digests():
            raise BindRefusedError(config.server.host)
    except DatabaseUnavailableError as error:
        # every request asks for a token all the same
        log.warning("tokens_not_counted detail=%s", error)
    finally:
        services.close()


def _prepare(app: Flask, place: int) -> None:
    services_of(app).durations.take_place(place)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
