"""Two dag engines on one database, of which one leads, and operator engines that know both."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
import sqlalchemy as sa

from dag_engine.config import DatabaseConfig
from dag_engine.storage.database import Database
from tests.support import crash_algorithms
from tests.support.databases import fresh_mysql_url, server_url
from tests.support.failpoints.control import FailpointFolder
from tests.support.ports import find_free_port
from tests.support.services import (
    RunningService,
    dagengine,
    kill_service,
    put_algorithms,
    start_service,
)
from tests.support.stored_replay import replay_database
from tests.support.tcp_proxy import TcpProxy, open_proxy
from tests.support.waiting import wait_until

START_S = 120.0


@dataclass(slots=True)
class Member:
    """A dag engine or an operator engine that is started and ended as often as a test likes.

    `database` is its own way to the database server, where there is one.
    """

    home: Path
    command: tuple[str, ...]
    env: dict[str, str]
    url: str
    points: FailpointFolder
    database: TcpProxy | None = None
    running: RunningService | None = None

    @property
    def service(self) -> RunningService:
        """The service; it must have been started."""
        assert self.running is not None
        return self.running

    def start(self) -> None:
        """Start it; it is ready when it works."""
        command = (self.command[0], "--home", str(self.home), *self.command[1:])
        self.running = start_service(self.home, command, self.env | self.points.environment())

    def kill(self) -> None:
        """Kill the launcher, and with it everything."""
        self.service.process.kill()
        self.service.process.wait()
        self.service.check_nothing_left()

    def pid(self, name: str) -> int:
        """Process id by name; 0 while it is away."""
        return self.service.find_pids().get(name, 0)

    def is_ready(self) -> bool:
        """Whether its API answers and the database behind it does."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False


@dataclass(slots=True)
class Pair:
    """All that runs; `leader` and `standby` are looked up in the database."""

    folder: Path
    database: Database
    dag_engines: list[Member] = field(default_factory=list)
    operator_engines: list[Member] = field(default_factory=list)

    @property
    def members(self) -> list[Member]:
        """All services, the dag engines first."""
        return [*self.dag_engines, *self.operator_engines]

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.txt"

    @property
    def urls(self) -> list[str]:
        """The APIs."""
        return [member.url for member in self.dag_engines]

    def read_leader(self) -> tuple[int, int]:
        """Tell the epoch and the process id of who leads or led last; 0, 0 before the first."""
        rows = self.database.read(
            lambda c: c.exec_driver_sql("SELECT epoch, pid FROM leader").fetchall()
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def is_leading(self, member: Member) -> bool:
        """Whether a dag engine's present scheduler has the leader row."""
        return self.read_leader()[1] == member.pid("scheduler") != 0

    def find_leader(self) -> tuple[Member, Member]:
        """Wait for a leader; gives it and the other one."""

        def look() -> tuple[Member, Member] | None:
            for member, other in (self.dag_engines, reversed(self.dag_engines)):
                if self.is_leading(member):
                    return member, other
            return None

        found = wait_until(look, 60, self.describe)
        assert found is not None
        return found

    def count_alive(self) -> int:
        """How many operator engines count as alive."""
        sql = "SELECT COUNT(*) FROM operator_engines WHERE is_alive = 1"
        return int(self.database.read(lambda c: c.exec_driver_sql(sql).scalar()) or 0)

    def wait_whole(self) -> None:
        """Wait until every dag engine answers and every operator engine is registered."""
        wait_until(
            lambda: (
                all(member.is_ready() and member.pid("scheduler") for member in self.dag_engines)
                and self.count_alive() == len(self.operator_engines)
            ),
            START_S,
            self.describe,
        )

    def describe(self) -> str:
        """What helps to understand a failure."""
        return f"{self.read_leader()}\n" + "\n".join(
            f"=== {member.home.name}\n{member.service.describe()}"
            for member in self.members
            if member.running is not None
        )


@contextmanager
def open_pair(
    folder: Path,
    dialect: str,
    *,
    lease_s: float = 10.0,
    n_operator_engines: int = 1,
    env: Sequence[Mapping[str, str]] = (),
) -> Iterator[Pair]:
    """Run everything until the end of the block; then all events are replayed.

    `env` is what the environments of the dag engines and the operator engines have besides.
    """
    with ExitStack() as stack:
        url = f"sqlite:///{folder / 'shared.db'}"
        if dialect == "mysql":
            url = stack.enter_context(fresh_mysql_url())
        made = dagengine("db", "upgrade", "--database-url", url)
        assert made.returncode == 0, made.stderr
        database = Database(url, DatabaseConfig(url=url))
        stack.callback(database.close)
        pair = Pair(folder, database)
        _plan(pair, url, stack, lease_s, n_operator_engines)
        stack.callback(_end, pair)
        for member, own in zip(pair.members, env, strict=False):
            member.env = member.env | dict(own)
        for member in pair.members:
            member.start()
        pair.wait_whole()
        yield pair
        _end(pair)
        replayed = replay_database(database)
        assert replayed.n_runs > 0
        assert (replayed.n_open, replayed.problems) == (0, [])


def _plan(pair: Pair, url: str, stack: ExitStack, lease_s: float, n_operator_engines: int) -> None:
    algorithms = put_algorithms(pair.folder / "algorithms", crash_algorithms)
    common = {
        "DAGENGINE__STORE__URL": f"file://{pair.folder / 'artifacts'}",
        "DAGENGINE__ALGORITHMS__PATHS": str(algorithms),
        "DAGENGINE__SCHEDULER__LEADER_LEASE_S": str(lease_s),
        "DAGENGINE__EXECUTORS__LOCAL__OPTIONS__PRELOAD": "[]",
    }
    secret = secrets.token_hex(32)
    for letter in "ab":
        home = pair.folder / f"dag_{letter}"
        home.mkdir()
        # Either must know the tokens that the other one gave.
        (home / "secret").write_text(secret)
        (home / "secret").chmod(0o600)
        way = None
        own_url = url
        if url.startswith("mysql"):
            server = server_url()
            proxy = open_proxy(server.host or "127.0.0.1", server.port or 3306)
            way = stack.enter_context(proxy)
            through = sa.make_url(url).set(host="127.0.0.1", port=way.port)
            own_url = through.render_as_string(hide_password=False)
        port = find_free_port()
        pair.dag_engines.append(
            Member(
                home=home,
                command=("dag-engine", "--port", str(port), "--database-url", own_url),
                env=common,
                url=f"http://127.0.0.1:{port}",
                points=FailpointFolder(pair.folder / f"points_{letter}", ("restart_at_once",)),
                database=way,
            )
        )
    for letter in "ab"[:n_operator_engines]:
        pair.operator_engines.append(
            Member(
                home=pair.folder / f"engine_{letter}",
                command=("operator-engine", "--dag-engine-url", ",".join(pair.urls)),
                env=common,
                url="",
                points=FailpointFolder(pair.folder / f"points_e{letter}", ("restart_at_once",)),
            )
        )


def _end(pair: Pair) -> None:
    """End everything, what is stopped included."""
    for member in [*pair.operator_engines, *pair.dag_engines]:
        if member.running is not None:
            for line in member.running.find_processes():
                try:
                    os.kill(int(line.split()[0]), signal.SIGCONT)
                except ProcessLookupError:
                    continue
            kill_service(member.running)
            member.running = None
