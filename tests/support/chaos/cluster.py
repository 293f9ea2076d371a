"""Two dag engines and two operator engines over one database, with a proxy on every way."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from dag_engine.config import DatabaseConfig
from dag_engine.storage.database import Database
from tests.support import ledger_algorithm
from tests.support.mariadb_server import MariaDbServer
from tests.support.ports import find_free_port
from tests.support.services import (
    MARK,
    RunningService,
    dagengine,
    kill_service,
    put_algorithms,
    start_service,
)
from tests.support.tcp_proxy import CommitWatcher, PostWatcher, TcpProxy, Watcher
from tests.support.waiting import wait_until

DAG_PROCESSES = ("api", "api worker", "scheduler")
ENGINE_PROCESSES = (
    "engine-main",
    "engine-execution",
    "engine-monitor",
    "executor-local",
    "pool worker",
)
LAUNCHER = "launcher"
START_S = 180.0


@dataclass(slots=True)
class Member:
    """A service with its launcher: a dag engine or an operator engine."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    home: Path
    service: RunningService | None = None

    @property
    def is_dag_engine(self) -> bool:
        """Whether it is a dag engine."""
        return self.command[0] == "dag-engine"

    def start(self) -> None:
        """Start it."""
        self.service = start_service(self.home, self.command, self.env)

    def wait_ready(self) -> None:
        """Wait until it says that it works again."""

        def is_ready() -> bool:
            assert self.running.process.poll() is None, f"it has ended: {self.running.describe()}"
            return " is ready: " in self.running.read_output()

        wait_until(is_ready, START_S, self.running.describe)

    def kill(self) -> None:
        """Kill its launcher, with which all its processes end; wait until they have."""
        service = self.running
        service.process.kill()
        service.process.wait()
        service.session.close()
        service.check_nothing_left()

    @property
    def running(self) -> RunningService:
        """The service; fails before the first start."""
        assert self.service is not None, f"{self.name} was never started"
        return self.service

    def find_pid(self, process: str) -> int | None:
        """Find a living process by its name; None where it does not live just now."""
        if process == LAUNCHER:
            return self.running.process.pid
        owner = {"api worker": "api", "pool worker": "executor-local"}.get(process, process)
        pid = self.running.find_pids().get(owner)
        if pid is None or not self._is_ours(pid):
            return None
        if process == "api worker":
            return max(find_children(pid), default=None)
        return min(find_children(pid), default=None) if process == "pool worker" else pid

    def _is_ours(self, pid: int) -> bool:
        """A pid file may be older than what has that pid now."""
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK}={self.running.mark}".encode() in environment


@dataclass(slots=True)
class Cluster:
    """All that runs, and the ways between."""

    folder: Path
    url: str
    server: MariaDbServer | None
    lease_s: float
    dag_engines: list[Member] = field(default_factory=list)
    operator_engines: list[Member] = field(default_factory=list)
    proxies: dict[str, TcpProxy] = field(default_factory=dict)

    @property
    def members(self) -> list[Member]:
        """Dag engines and operator engines."""
        return [*self.dag_engines, *self.operator_engines]

    @property
    def ledger(self) -> Path:
        """What the operators write down."""
        return self.folder / "ledger.jsonl"

    def api_urls(self) -> list[str]:
        """Where clients reach the APIs: by way of the proxies."""
        return [
            f"http://127.0.0.1:{self.proxies[f'client->{member.name}'].port}"
            for member in self.dag_engines
        ]

    def mend(self) -> None:
        """End every disturbance of the network."""
        for proxy in self.proxies.values():
            proxy.mend()

    def open_database(self) -> Database:
        """Open the database directly, past all proxies."""
        return Database(self.url, DatabaseConfig(url=self.url, read_timeout_s=5))

    def describe(self) -> str:
        """What helps to understand a failure."""
        return "\n".join(
            f"=== {member.name}\n{member.running.describe()}"
            for member in self.members
            if member.service is not None
        )


@contextmanager
def run_cluster(
    folder: Path, server: MariaDbServer | None, *, lease_s: float, n_slots: int
) -> Iterator[Cluster]:
    """Start everything, and leave nothing of it behind; the folder stays."""
    cluster = _plan(folder, server, lease_s, n_slots)
    try:
        made = dagengine("db", "upgrade", "--database-url", cluster.url)
        assert made.returncode == 0, made.stderr
        for member in cluster.members:
            member.start()
        wait_until(lambda: _is_whole(cluster), START_S, cluster.describe)
        yield cluster
    finally:
        for member in cluster.members:
            if member.service is not None:
                _resume_all(member.service)
                kill_service(member.service)
        for proxy in cluster.proxies.values():
            proxy.cut()


def _plan(folder: Path, server: MariaDbServer | None, lease_s: float, n_slots: int) -> Cluster:
    algorithms = put_algorithms(folder / "algorithms", ledger_algorithm)
    url = server.make_database() if server else f"sqlite:///{folder / 'dagengine.db'}"
    cluster = Cluster(folder, url, server, lease_s)
    secret = secrets.token_hex(32)
    common = {
        "DAGENGINE__STORE__URL": f"file://{folder / 'artifacts'}",
        "DAGENGINE__ALGORITHMS__PATHS": str(algorithms),
        "DAGENGINE__SCHEDULER__LEADER_LEASE_S": str(lease_s),
        "DAGENGINE__SCHEDULER__ENGINE_LEASE_S": str(lease_s),
        "DAGENGINE__SCHEDULER__HEARTBEAT_S": str(lease_s / 5),
        "DAGENGINE__EXECUTORS__LOCAL__OPTIONS__PRELOAD": "[]",
    }
    for letter in "ab":
        member = _plan_dag_engine(cluster, f"dag-{letter}", common)
        # Any of the dag engines must know the tokens that the other one gave.
        (member.home / "secret").write_text(secret)
        (member.home / "secret").chmod(0o600)
        cluster.dag_engines.append(member)
    for name, dag_engines in (("engine-a", ("dag-a", "dag-b")), ("engine-b", ("dag-b", "dag-a"))):
        cluster.operator_engines.append(
            _plan_operator_engine(cluster, name, dag_engines, common, n_slots)
        )
    return cluster


def _plan_dag_engine(cluster: Cluster, name: str, common: dict[str, str]) -> Member:
    home = cluster.folder / name
    home.mkdir()
    api_port, scheduler_port = find_free_port(), find_free_port()
    _open_proxy(cluster, f"client->{name}", api_port, PostWatcher)
    _open_proxy(cluster, f"engine->{name}", api_port, PostWatcher)
    public = _open_proxy(cluster, f"->{name} scheduler", scheduler_port, PostWatcher)
    database_url = cluster.url
    if cluster.server is not None:
        way = _open_proxy(cluster, f"{name}->database", cluster.server.port, CommitWatcher)
        database_url = cluster.server.url(sa.make_url(cluster.url).database or "", way.port)
    env = common | {
        "DAGENGINE__DATABASE__URL": database_url,
        "DAGENGINE__SCHEDULER__PORT": str(scheduler_port),
        "DAGENGINE__SCHEDULER__ADVERTISE_URL": f"http://127.0.0.1:{public.port}",
    }
    command = ("dag-engine", "--home", str(home), "--port", str(api_port))
    return Member(name, command, env, home)


def _plan_operator_engine(
    cluster: Cluster,
    name: str,
    dag_engines: tuple[str, ...],
    common: dict[str, str],
    n_slots: int,
) -> Member:
    home = cluster.folder / name
    port = find_free_port()
    public = _open_proxy(cluster, f"scheduler->{name}", port, PostWatcher)
    up = [cluster.proxies[f"engine->{dag_engine}"].port for dag_engine in dag_engines]
    command = (
        "operator-engine",
        *("--home", str(home)),
        *("--dag-engine-url", ",".join(f"http://127.0.0.1:{port}" for port in up)),
        *("--port", str(port)),
        *("--advertise-url", f"http://127.0.0.1:{public.port}"),
        *("--slots", str(n_slots)),
    )
    return Member(name, command, common | {"DAGENGINE__ENGINE__NAME": name}, home)


def _open_proxy(cluster: Cluster, way: str, port: int, watcher: type[Watcher]) -> TcpProxy:
    proxy = TcpProxy("127.0.0.1", port, watcher)
    cluster.proxies[way] = proxy
    return proxy


def _is_whole(cluster: Cluster) -> bool:
    for member in cluster.members:
        assert member.running.process.poll() is None, f"it has ended: {cluster.describe()}"
    database = cluster.open_database()
    try:
        with database.engine.connect() as connection:
            query = "SELECT COUNT(*) FROM operator_engines WHERE is_alive = 1"
            return connection.exec_driver_sql(query).scalar() == len(cluster.operator_engines)
    finally:
        database.close()


def _resume_all(service: RunningService) -> None:
    """A stopped process would not end by SIGTERM, and its children would not notice its end."""
    for line in service.find_processes():
        try:
            os.kill(int(line.split()[0]), signal.SIGCONT)
        except ProcessLookupError:
            continue


def find_children(pid: int) -> list[int]:
    """Find the processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split()]
