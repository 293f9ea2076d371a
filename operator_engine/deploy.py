"""Which processes make up an operator engine, and what they must be told before they start."""

from __future__ import annotations

import logging
import os
import random
import sys
import threading

import msgspec

from executors.base import ExecutorSettings
from executors.errors import ExecutorError
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient, HttpReply
from operator_engine.addresses import DagEngineAddresses
from operator_engine.child_process import ProcessSpec
from operator_engine.errors import ExecutorLoadError, StoppedError, TokenRefusedError
from operator_engine.launcher import Launcher
from operator_engine.registrar import read_sentence
from operator_engine.registry import load_executor_class
from operator_engine.sealing_key import ensure_sealing_key
from operator_engine.settings import (
    EngineSettings,
    ExecutorEntry,
    check_settings,
    write_engine_settings,
)

log = logging.getLogger(__name__)

SETTINGS_PATH = "/internal/v1/settings"
_MAX_PAUSE_S = 5.0


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the dag engine says of its artifact store."""

    store_url: str
    store_marker: str = ""


def engine_process_specs(settings: EngineSettings) -> list[ProcessSpec]:
    """Write the settings file of an operator engine, and return its processes in starting order.

    An executor class that needs a process of its own beside the engine's offers a classmethod
    ``side_process(name, options, settings) -> list[str] | None`` that returns its command line; one
    with ``side_process_drains = True`` gets SIGUSR1 at a stop, before anything ends: then its tasks
    may end, and what it is given from then on is handed back (`Outcome.is_handed_back`).
    Raises `ExecutorLoadError` and `SettingsError`.
    """
    check_settings(settings, "of the operator engine")
    settings = msgspec.structs.replace(settings, home=os.path.abspath(settings.home))
    path = settings.run_folder() / "operator_engine_settings.json"
    write_engine_settings(settings, path)
    ensure_sealing_key(settings.home)
    specs = []
    for entry in settings.executors:
        argv = find_side_process(entry, settings.for_executor(entry))
        if argv is not None:
            drains = getattr(load_executor_class(entry), "side_process_drains", False)
            specs.append(ProcessSpec(f"executor-{entry.name}", argv, is_drained=drains))
    for part in ("main", "execution", "monitor"):
        argv = [sys.executable, "-m", f"operator_engine.{part}", str(path)]
        is_main = part == "main"
        specs.append(
            ProcessSpec(
                f"engine-{part}",
                argv,
                # Main says the last word, and needs the others' for it.
                stop_stage=1 if is_main else 2,
                is_drained=is_main,
                ends_drained=is_main,
            )
        )
    return specs


def find_side_process(entry: ExecutorEntry, settings: ExecutorSettings) -> list[str] | None:
    """Return the command line of an executor's own process; None where it needs none."""
    offer = getattr(load_executor_class(entry), "side_process", None)
    if offer is None:
        return None
    try:
        argv: list[str] | None = offer(entry.name, dict(entry.options), settings)
    except ExecutorError as error:
        raise ExecutorLoadError(entry.name, str(error)) from error
    return argv


def resolve_store(settings: EngineSettings, stop: threading.Event | None = None) -> EngineSettings:
    """Return the settings with the artifact store filled in; where none is configured, the dag
    engine is asked for its own until it answers.

    Raises `StoppedError` once `stop` is set, and `TokenRefusedError` where waiting cannot help.
    """
    if settings.store_url:
        return settings
    stop = stop or threading.Event()
    pause_s = 0.25
    addresses = DagEngineAddresses(settings.dag_engine_url)
    while not stop.is_set():
        url = addresses.current
        answer = _ask_store(url, settings.token)
        if isinstance(answer, StoreSettings):
            log.info("store_found url=%s", answer.store_url)
            return msgspec.structs.replace(settings, store_url=answer.store_url)
        log.warning(
            "store_not_known detail=%s; set `store_url`, or wait: it is asked again", answer
        )
        addresses.give_up(url)
        stop.wait(pause_s * random.uniform(0.7, 1.0))
        pause_s = min(_MAX_PAUSE_S, pause_s * 2)
    raise StoppedError("stopped while waiting for the dag engine")


def _ask_store(url: str, token: str) -> StoreSettings | str:
    """Ask a dag engine for its store; a text says why there is no answer."""
    client = HttpClient(url, token=token)
    try:
        reply = client.request("GET", SETTINGS_PATH)
    except ConnectionFailedError as error:
        return str(error)
    finally:
        client.close()
    return _read_store(reply, url)


def _read_store(reply: HttpReply, url: str) -> StoreSettings | str:
    if reply.status in (401, 403):
        raise TokenRefusedError(url, read_sentence(reply))
    if reply.status != 200:
        return f"{url} answered {reply.status}: {read_sentence(reply)}"
    try:
        answer = msgspec.json.decode(reply.body, type=StoreSettings)
    except msgspec.DecodeError as error:
        return f"{url} answered something else: {error}"
    return answer if answer.store_url else f"{url} does not know its store yet"


def make_engine_launcher(settings: EngineSettings) -> Launcher:
    """Make the launcher of an operator engine that runs by itself."""
    return Launcher(engine_process_specs(settings), settings.run_folder().parent)
