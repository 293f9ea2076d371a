"""Canaries: secrets of every kind are planted in a real service, runs do with them what they should
not, and then everything that can be read is searched for them.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import secrets
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
import yaml

from dag_engine.config import DatabaseConfig
from dag_engine.storage import tokens
from dag_engine.storage.database import Database
from tests.support import databases, secretive_algorithms
from tests.support.services import (
    RunningService,
    dagengine,
    find_marked,
    put_algorithms,
    run_serve,
)

JSON = {"Content-Type": "application/json"}
DEEDS = ("use", "raise", "hint", "connect", "crash", "exit")
PACKED = b"\x78"
"""What zlib has packed begins with it."""
# What is secret by its nature, and may be read by its owner alone.
PRIVATE_FILES = {
    "secret", "secret.key", "sealing.key", "run/operator_engine_settings.json",
}  # fmt: skip


@dataclass(slots=True)
class Canaries:
    """What was planted, by name, and the forms in which it could show."""

    values: dict[str, str] = field(default_factory=dict)

    def plant(self, name: str, value: str = "") -> str:
        self.values[name] = value or f"Kanarie/{name}-{secrets.token_hex(8)}"
        return self.values[name]

    def find(self, data: bytes) -> list[str]:
        return [
            name
            for name, value in self.values.items()
            if any(form in data for form in _list_forms(value))
        ]

    def check(self, place: str, data: bytes | str) -> None:
        data = data.encode("utf-8", "replace") if isinstance(data, str) else data
        found = self.find(data)
        assert not found, f"{place} shows {found}: {_show(data, self.values[found[0]])}"


def _list_forms(value: str) -> set[bytes]:
    """As it is, quoted for a URL, and in base64 at each of its three places, worked out here."""
    forms = {value, quote(value), quote(value, safe="")}
    for n_before in range(3):
        encoded = base64.b64encode(b"\0" * n_before + value.encode()).decode()
        forms.add(encoded[4 : len(encoded) - 4])
    return {form.encode() for form in forms}


def _show(data: bytes, value: str) -> str:
    for form in _list_forms(value):
        place = data.find(form)
        if place >= 0:
            return repr(data[max(0, place - 200) : place + 120])
    return ""


@dataclass(slots=True)
class Planted:
    """A service with canaries in it."""

    service: RunningService
    canaries: Canaries
    config: Path
    database_url: str
    mark: str

    @property
    def home(self) -> Path:
        return self.service.home

    def run_command(self, *arguments: str) -> str:
        """Run a client command, and give what it said; it must not show a canary."""
        env = {"DAGENGINE_TOKEN": self.canaries.values["token"]}
        done = dagengine(*arguments, url=self.service.url, env=env)
        self.canaries.check(f"dagengine {' '.join(arguments)}", done.stdout + done.stderr)
        return done.stdout

    def run_local(self, *arguments: str) -> str:
        """Run a command on the installation itself."""
        done = dagengine(
            *arguments, "--home", str(self.home), "--config", str(self.config), env=self.env()
        )
        assert done.returncode == 0, done.stderr
        self.canaries.check(f"dagengine {' '.join(arguments)}", done.stdout + done.stderr)
        return done.stdout

    def env(self) -> dict[str, str]:
        return {"DAGENGINE__DATABASE__URL": self.database_url} if self.database_url else {}


@contextlib.contextmanager
def _make_database(dialect: str, canaries: Canaries) -> Iterator[str]:
    """Make a database with a user of its own, whose password is a canary; empty for SQLite."""
    if dialect == "sqlite":
        yield ""
        return
    user = f"kanarie_{secrets.token_hex(4)}"
    password = canaries.plant("database")
    with databases.fresh_mysql_url() as url:
        server = databases.connect_server()
        name = url.rpartition("/")[2]
        try:
            server.query(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'")
            server.query(f"GRANT ALL ON {name}.* TO '{user}'@'%'")
            yield (
                sa.make_url(url)
                .set(username=user, password=password)
                .render_as_string(hide_password=False)
            )
        finally:
            server.query(f"DROP USER IF EXISTS '{user}'@'%'")
            server.close()


@pytest.fixture(params=databases.DIALECTS)
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Planted]:
    canaries = Canaries()
    algorithms = put_algorithms(tmp_path / "algorithms", secretive_algorithms)
    config = tmp_path / "dagengine.yaml"
    password = quote(canaries.plant("configured"), safe="")
    config.write_text(
        yaml.safe_dump(
            {
                "connections": {
                    "configured": {"url": f"mysql+pymysql://root:{password}@127.0.0.1:1/x"}
                }
            }
        )
    )
    with _make_database(request.param, canaries) as url:
        home = tmp_path / "home"
        env = {"DAGENGINE__DATABASE__URL": url} if url else {}
        at = ("--home", str(home), "--config", str(config))
        home.mkdir()
        database = databases.open_migrated(url or databases.sqlite_url(home))
        token = canaries.plant("token")
        digest = hashlib.sha256(token.encode()).hexdigest()
        tokens.add_token(database, digest, role="admin", name="canary")
        database.close()
        stored = quote(canaries.plant("stored"), safe="")
        (tmp_path / "url").write_text(f"mysql+pymysql://root:{stored}@127.0.0.1:1/x")
        added = dagengine(
            "connections", "add", "stored", "--from-file", str(tmp_path / "url"), *at, env=env
        )
        assert added.returncode == 0, added.stderr
        with run_serve(
            home, "--config", str(config), "--algorithms", str(algorithms), env=env
        ) as service:
            service.session.headers["Authorization"] = f"Bearer {token}"
            canaries.plant("installation", (home / "secret").read_text().strip())
            canaries.plant("key", (home / "secret.key").read_text().strip())
            canaries.plant("sealing", (home / "sealing.key").read_text().split()[0])
            yield Planted(service, canaries, config, url, service.mark)


def write_dag(secret: Any = "api_key") -> bytes:
    """A DAG of one operator for each deed, which do not depend on each other."""
    details = {
        deed: {
            "algo_name": "test_secretive",
            "params": {
                "deed": deed,
                "secret": secret,
                "connection": "configured" if deed == "raise" else "stored",
            },
            "run": {"on_failure": "continue"},
        }
        for deed in DEEDS
    }
    dag = {"name": "canaries", "operator_list": list(DEEDS), "operator_details": details}
    return json.dumps({"dag": dag}).encode()


@pytest.mark.timeout(180)
def test_no_canary_is_found_anywhere(planted: Planted) -> None:
    service, canaries = planted.service, planted.canaries
    value = canaries.plant("secret")
    answer = service.call("POST", "/api/v1/secrets", json={"name": "api_key", "value": value})
    canaries.check("POST /api/v1/secrets", answer.content)
    check_refusals(planted)
    started = service.call("POST", "/api/v1/runs", data=write_dag(), headers=JSON)
    canaries.check("POST /api/v1/runs", started.content)
    run_id = started.json()["id"]
    run = service.wait_for_run(run_id)
    assert run["state"] == "failed"
    check_deeds(planted, run_id)
    check_routes(planted, run_id)
    check_processes(planted)
    check_commands(planted, run_id)
    check_database(planted)
    check_files(planted)


def check_refusals(planted: Planted) -> None:
    """Refused requests repeat no secret."""
    service, canaries = planted.service, planted.canaries
    value = canaries.values["secret"]
    for body in (write_dag(value), write_dag([value]), write_dag({"x": value})):
        answer = service.call("POST", "/api/v1/runs", status=422, data=body, headers=JSON)
        canaries.check("a refused DAG", answer.content)
    wrong = {"name": value, "value": [value]}
    canaries.check(
        "a refused secret", service.call("POST", "/api/v1/secrets", status=422, json=wrong).content
    )


def check_deeds(planted: Planted, run_id: str) -> None:
    """Each attempt did what it should not, so that the search can find something."""
    tasks = planted.service.get(f"/api/v1/runs/{run_id}/tasks")["items"]
    reasons = {task["operator"]: (task["state"], task["reason"]) for task in tasks}
    assert reasons == {
        "use": ("succeeded", "ran"),
        "raise": ("failed", "error"),
        "hint": ("failed", "invalid_input"),
        "connect": ("failed", "invalid_input"),
        "crash": ("failed", "segfault"),
        "exit": ("failed", "exited"),
    }
    for deed in DEEDS:
        log = planted.service.call(
            "GET",
            f"/api/v1/runs/{run_id}/tasks/{deed}/attempts/1/log",
            params={"limit": 100_000},
            headers={"Accept": "text/plain"},
        ).text
        for words in ("printed", "written", "by a C library", "by a child"):
            assert f"{words} *** ***" in log, (deed, log)
    for deed in ("crash", "exit"):
        log = planted.service.call("GET", f"/api/v1/runs/{run_id}/tasks/{deed}/attempts/1/log").text
        assert "last words *** ***" in log


def check_routes(planted: Planted, run_id: str) -> None:
    """Search the answer of every GET route, for every operator where it names one."""
    service = planted.service
    dag_id = service.get("/api/v1/dags")["items"][0]["id"]
    values: dict[str, list[str]] = {
        "run_id": [run_id],
        "operator": list(DEEDS),
        "dag_id": [dag_id],
        "attempt": ["1"],
        "port": ["0", "1"],
        "version": ["1"],
        "dataset_id": ["none"],
        "name": ["api_key", "stored", "configured", "test_secretive", "run.js"],
    }
    paths = service.get("/api/v1/openapi.json")["paths"]
    n_good = 0
    for path, operations in paths.items():
        if "get" not in operations:
            continue
        for filled in _fill(path, values):
            reply = service.session.get(
                service.url + filled, params=_ask(path), timeout=30, allow_redirects=False
            )
            assert reply.status_code < 500, filled
            planted.canaries.check(f"GET {filled}", reply.content + str(reply.headers).encode())
            n_good += reply.status_code == 200
    assert n_good > 40
    events = service.session.get(
        f"{service.url}/api/v1/runs/{run_id}/events",
        headers={"Accept": "text/event-stream"},
        timeout=30,
    )
    assert "raised *** ***" in events.text
    planted.canaries.check("the events", events.content)


def _ask(path: str) -> dict[str, str]:
    return {"limit": "1000"} if path.endswith(("/tasks", "/events")) else {}


def _fill(path: str, values: dict[str, list[str]]) -> list[str]:
    """Put each of the values in place of a path's parts."""
    found = re.search(r"{(\w+)}", path)
    if found is None:
        return [path]
    return [
        filled
        for value in values.get(found[1], ["none"])
        for filled in _fill(path.replace(found[0], value, 1), values)
    ]


def check_processes(planted: Planted) -> None:
    """Search what can be read of every process but the launcher, which was started with it all."""
    launcher = planted.service.process.pid
    pids = [int(line.split()[0]) for line in find_marked(planted.mark)]
    assert len(pids) > 6
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if pid != launcher:
                data = Path(f"/proc/{pid}/environ").read_bytes()
                planted.canaries.check(f"the environment of {pid}", data)
            data = Path(f"/proc/{pid}/cmdline").read_bytes()
            planted.canaries.check(f"the command line of {pid}", data)


def check_commands(planted: Planted, run_id: str) -> None:
    """Search what commands say; each is a process that takes its time, so each kind of database
    has its own.
    """
    if planted.database_url:
        assert "***" in planted.run_local("config", "show", "-o", "json")
        assert "***" in planted.run_local("connections", "show", "stored", "-o", "yaml")
        return
    assert run_id in planted.run_command("runs", "get", run_id, "-o", "yaml")
    assert "***" in planted.run_command("runs", "why", run_id, "raise")
    assert "***" in planted.run_command("logs", run_id, "raise")


def check_database(planted: Planted) -> None:
    """Search every row of every table."""
    url = planted.database_url or databases.sqlite_url(planted.home)
    database = Database(url, DatabaseConfig(url=url))
    n_rows = n_packed = 0
    with database.engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}"):
                n_rows += 1
                for cell in row:
                    data = cell if isinstance(cell, bytes) else str(cell).encode()
                    planted.canaries.check(f"table {table}", data)
                    if isinstance(cell, bytes) and cell.startswith(PACKED):
                        n_packed += 1
                        planted.canaries.check(f"table {table}", zlib.decompress(cell))
    database.close()
    assert n_rows > 50
    assert n_packed > 1, "the definition and its plan"


def check_files(planted: Planted) -> None:
    """Search every file of the home folder; those that must hold secrets are private."""
    n_files = 0
    for path in planted.home.rglob("*"):
        if not stat.S_ISREG(path.lstat().st_mode):
            continue
        name = str(path.relative_to(planted.home))
        if name in PRIVATE_FILES:
            assert path.stat().st_mode & 0o077 == 0, name
            continue
        n_files += 1
        planted.canaries.check(name, path.read_bytes())
    assert n_files > 15
    left = {str(p.relative_to(planted.home)) for p in planted.home.rglob("*") if p.is_file()}
    assert left >= PRIVATE_FILES
    settings = json.loads((planted.home / "run" / "operator_engine_settings.json").read_text())
    for name in ("secret", "key", "database", "configured", "stored", "sealing"):
        if name in planted.canaries.values:
            assert planted.canaries.values[name] not in json.dumps(settings)
