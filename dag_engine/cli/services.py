"""Which processes a service has, and how they are started, watched and ended."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dag_engine.cli.errors import EXIT_INTERRUPTED, EXIT_SUCCEEDED, ServiceError, UsageError
from dag_engine.cli.home import Home, prepare_home
from dag_engine.cli.news import LogNews, NewsHandler, say
from dag_engine.cli.preparation import prepare_database
from dag_engine.cli.readiness import wait_for_ready, wait_for_registered
from dag_engine.config import OLD_SETTINGS_FILE, Config, hold_settings, settings_path
from dag_engine.core.access import is_loopback
from operator_engine.child_process import LOG_LIMIT_BYTES, ProcessSpec
from operator_engine.errors import EngineError

if TYPE_CHECKING:
    from operator_engine.launcher import Launcher
    from operator_engine.settings import EngineSettings

_SLOW_START_S = 20.0
_BACKLOG = 512
_LAST_STAGE = 9
"""Scheduler and api hear the last reports of an operator engine that is stopped with them."""


@dataclass(slots=True)
class Service:
    """What runs: its processes, and when it counts as ready.

    `settings` is the descriptor of the dag engine's settings, which its processes inherit.
    """

    home: Path
    specs: list[ProcessSpec]
    ready_line: str
    wait_for_ready: Callable[[threading.Event], bool]
    url: str = ""
    sock: socket.socket | None = None
    settings: int = -1
    began: float = field(default_factory=time.monotonic)
    drain_s: float = 0.0
    log_limit_bytes: int = LOG_LIMIT_BYTES
    failure: ServiceError | None = None


def make_dag_engine(config: Config, *, has_engine: bool) -> Service:
    """Prepare home, database and address; with `has_engine` also an operator engine."""
    began = time.monotonic()
    home = prepare_home(config.home)
    config = _let_engines_reach_the_scheduler(config)
    sock = bind_api(config.server.host, config.server.port)
    url = describe_url(sock)
    settings = hold_settings(config)
    try:
        _prepare(config, settings)
        specs = make_dag_engine_specs(settings, sock)
        engine = None
        if has_engine:
            engine_settings = make_engine_settings(config, home, url)
            specs += make_engine_specs(engine_settings)
            engine = _forget_address(engine_settings)
    except ServiceError:
        sock.close()
        os.close(settings)
        raise
    write_address(config.home, url)
    line = f"dagengine is ready: {url}" if has_engine else f"The dag engine is ready: {url}"
    wait = partial(wait_for_ready, url, engine=engine)
    drain_s = config.engine.stop_grace_s if has_engine else 0.0
    return Service(
        config.home, specs, line, wait, url, sock, settings, began, drain_s, _log_limit(config)
    )


def _prepare(config: Config, settings: int) -> None:
    """Make database, store and key ready."""
    (config.home / OLD_SETTINGS_FILE).unlink(missing_ok=True)
    preparation = prepare_database(settings)
    for warning in preparation.warnings:
        say(f"warning: {warning}")
    if not is_loopback(config.server.host) and not preparation.has_tokens:
        raise ServiceError(
            f"{config.server.host} can be reached from other machines, and there are no tokens.",
            "Make one first: dagengine tokens add NAME; or serve this machine alone: "
            "--host 127.0.0.1",
        )


def _let_engines_reach_the_scheduler(config: Config) -> Config:
    """Let the scheduler listen where the api does, unless its address was chosen.

    Reports could go through the api as well, but that is a longer way for every task.
    """
    if not config.origins.get("scheduler.host", "").startswith("default.yaml"):
        return config
    scheduler = replace(config.scheduler, host=config.server.host)
    return replace(config, scheduler=scheduler)


def make_operator_engine(config: Config) -> Service:
    """Prepare an operator engine for a dag engine that runs elsewhere."""
    if not config.engine.dag_engine_url:
        raise UsageError("--dag-engine-url is needed, such as http://10.0.0.1:8080.")
    if is_wildcard(config.engine.host) and not config.engine.advertise_url:
        raise UsageError(
            f"--host {config.engine.host} is no address that the dag engine could call.",
            "Name the one that it reaches: --advertise-url http://10.0.0.2:8090",
        )
    home = prepare_home(config.home)
    url = config.engine.dag_engine_url
    settings = make_engine_settings(config, home, url)
    from operator_engine.deploy import resolve_store

    say(f"operator engine {settings.engine_id} for {url}")
    try:
        specs = make_engine_specs(resolve_store(settings))
    except EngineError as error:
        raise ServiceError(str(error)) from error
    address = _forget_address(settings)
    line = f"The operator engine {settings.engine_id} is ready: registered with {url}"
    wait = partial(wait_for_registered, address)
    return Service(
        config.home,
        specs,
        line,
        wait,
        drain_s=config.engine.stop_grace_s,
        log_limit_bytes=_log_limit(config),
    )


def _log_limit(config: Config) -> int:
    return int(config.retention.service_log_mb * 1e6)


def _forget_address(settings: EngineSettings) -> Path:
    """Remove the address of a former start; return where that of this one will be."""
    address = settings.run_folder() / "operator_engine.json"
    address.unlink(missing_ok=True)
    return address


def make_dag_engine_specs(settings: int, sock: socket.socket) -> list[ProcessSpec]:
    """Make the specs of scheduler and api; they inherit the settings, the api the bound socket."""
    number = sock.fileno()
    path = str(settings_path(settings))
    return [
        ProcessSpec(
            "scheduler",
            [sys.executable, "-m", "dag_engine.scheduler", path],
            stop_stage=_LAST_STAGE,
            pass_fds=(settings,),
        ),
        ProcessSpec(
            "api",
            [sys.executable, "-m", "dag_engine.api", path, f"fd://{number}"],
            stop_stage=_LAST_STAGE,
            pass_fds=(settings, number),
        ),
    ]


def make_engine_specs(settings: EngineSettings) -> list[ProcessSpec]:
    """Make the specs of an operator engine's processes."""
    from operator_engine.deploy import engine_process_specs

    try:
        return engine_process_specs(settings)
    except EngineError as error:
        raise ServiceError(str(error)) from error


def make_engine_settings(config: Config, home: Home, url: str) -> EngineSettings:
    """Turn the configuration into what the operator engine's processes are told."""
    from importlib.metadata import version

    from operator_engine.settings import EngineSettings, ExecutorEntry

    engine = config.engine
    n_cores = len(os.sched_getaffinity(0))
    entries = [
        ExecutorEntry(
            name=entry.name,
            class_path=entry.class_path,
            data_types=list(entry.data_types),
            options=entry.options,
            slots=entry.slots or engine.slots or 2 * n_cores,
        )
        for entry in config.executors.values()
    ]
    is_local = not engine.dag_engine_url
    is_store_chosen = not config.origins.get("store.url", "").startswith("default.yaml")
    return EngineSettings(
        engine_id=engine.name or home.engine_id,
        home=str(config.home),
        dag_engine_url=url,
        host=engine.host,
        port=engine.port,
        advertise_url=engine.advertise_url,
        # the engine of the same installation shows its secret; it needs no token of its own
        token=engine.token or (home.secret if is_local else ""),
        labels=engine.labels,
        slots=engine.slots or sum(entry.slots for entry in entries),
        store_url=config.store_url if is_local or is_store_chosen else "",
        algorithm_paths=list(config.algorithm_paths),
        executors=entries,
        heartbeat_s=config.scheduler.heartbeat_s,
        version=version("dagengine"),
    )


def run_service(
    service: Service,
    *,
    on_ready: Callable[[], None] | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Run all processes until Ctrl-C, SIGTERM or `stop`, then end them in order.

    Returns the exit code: 0, or 130 where the stop was asked for again and did not wait.
    """
    from operator_engine.errors import HomeInUseError
    from operator_engine.launcher import Launcher

    class NoticingLauncher(Launcher):
        """Tells the threads beside it that the end has begun."""

        def request_stop(self) -> None:
            is_over.set()
            super().request_stop()

    _hear_logging()
    is_ready = threading.Event()
    is_over = threading.Event()
    specs = list(service.specs)
    specs[0] = replace(specs[0], is_ready=is_ready.is_set)
    launcher = NoticingLauncher(
        specs,
        service.home,
        drain_s=service.drain_s,
        log_limit_bytes=service.log_limit_bytes,
        on_ready=lambda: _tell_ready(service, on_ready),
    )
    news = LogNews(service.home / "logs" / "services", [spec.name for spec in specs], is_ready)
    threads = [threading.Thread(target=news.run, args=(is_over,), daemon=True, name="news")]
    if stop is not None:
        threading.Thread(
            target=_stop_later, args=(stop, launcher), daemon=True, name="stop"
        ).start()
    watched = (service, launcher, is_ready, is_over)
    threads.append(threading.Thread(target=_watch_start, args=watched, daemon=True, name="ready"))
    for thread in threads:
        thread.start()
    try:
        launcher.run()
    except HomeInUseError as error:
        raise ServiceError(str(error)) from error
    finally:
        is_over.set()
        for thread in threads:
            thread.join(timeout=2)
        if service.sock is not None:
            service.sock.close()
        if service.settings >= 0:
            os.close(service.settings)
        (service.home / "run" / "api.json").unlink(missing_ok=True)
    if service.failure is not None:
        raise service.failure
    if launcher.has_hurried:
        say("stopped in a hurry")
        return EXIT_INTERRUPTED
    say("stopped")
    return EXIT_SUCCEEDED


def _stop_later(stop: threading.Event, launcher: Launcher) -> None:
    stop.wait()
    launcher.request_stop()


def _tell_ready(service: Service, on_ready: Callable[[], None] | None) -> None:
    took = time.monotonic() - service.began
    click.echo(f"{service.ready_line} (after {took:.1f} s; Ctrl-C stops it)")
    sys.stdout.flush()
    if on_ready is not None:
        on_ready()


def _watch_start(
    service: Service, launcher: Launcher, is_ready: threading.Event, is_over: threading.Event
) -> None:
    slow = threading.Timer(
        _SLOW_START_S,
        lambda: say(f"not ready yet; {service.home}/logs/services tells what each process does"),
    )
    slow.daemon = True
    slow.start()
    try:
        if service.wait_for_ready(is_over):
            is_ready.set()
    except ServiceError as error:
        service.failure = error
        launcher.request_stop()
    finally:
        slow.cancel()


def _hear_logging() -> None:
    """Show what this process itself has to say, such as that a process died."""
    logger = logging.getLogger()
    logger.setLevel(logging.WARNING)
    if not any(isinstance(handler, NewsHandler) for handler in logger.handlers):
        logger.addHandler(NewsHandler())


def bind_api(host: str, port: int) -> socket.socket:
    """Bind and listen, so that clients that come early wait instead of being refused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host.strip("[]"), port))
        sock.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        sock.close()
        raise ServiceError(
            f"Cannot listen on {host} port {port}: {getattr(error, 'strerror', error)}.",
            "Choose another with --port (0 takes a free one), or stop what listens there.",
        ) from error
    return sock


def describe_url(sock: socket.socket) -> str:
    """Tell the URL under which this machine reaches a listening socket."""
    host, port = sock.getsockname()[:2]
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_address(home: Path, url: str) -> None:
    """Write where the API is, for tools on this machine."""
    path = home / "run" / "api.json"
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps({"url": url, "pid": os.getpid()}) + "\n", encoding="utf-8")
    partial.replace(path)


def is_wildcard(host: str) -> bool:
    """Tell whether an address means all of this machine's."""
    return host.strip("[]") in {"0.0.0.0", "::", ""}
