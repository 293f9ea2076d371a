"""Bad input, S1 to S49: what is sent, what is answered, and that nothing else happens.

The cases stand in `tests/support/bad_input`. The rule for all of them: the status and the named
code that the table tells, a place where there is one, less than two seconds of processor time and
100 MiB of memory, the same processes alive as before, nothing written, no trace and no secret.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from dag_engine.storage import tokens as stored_tokens
from tests.support.bad_input.bench import Bench
from tests.support.bad_input.cases import CASES, N_CASES, Case, write_table
from tests.support.bad_input.egress import NAME_OF_LOOPBACK
from tests.support.bad_input.measuring import Watch
from tests.support.bad_input.reports import ENVIRONMENT_CANARY
from tests.support.databases import open_migrated
from tests.support.ports import find_free_port
from tests.support.services import ROOT, RunningService, run_serve
from tests.support.tokens import digest
from tests.support.waiting import wait_until

STARTS_PER_S = 12.0
SETTINGS = """\
server:
  max_starts_per_s: {starts_per_s}
datasets:
  roots: [{data}, "https://data.example/open/", "http://127.0.0.1:{port}/",
    "http://{name_of_loopback}:{port}/"]
connections:
  plain: {{url: "sqlite:///{data}/plain.db"}}
"""
PLAIN_DATABASE = """\
CREATE TABLE good (a INTEGER);
INSERT INTO good VALUES (1);
CREATE VIEW endless AS
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) AS i FROM n;
CREATE VIEW cartesian AS
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000)
  SELECT COUNT(*) AS i FROM n AS a, n AS b, n AS c;
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bad")
    for name in ("outside", "data", "algorithms"):
        (folder / name).mkdir()
    shutil.copy(
        ROOT / "tests/support/bad_input/hostile_algorithms.py", folder / "algorithms/hostile.py"
    )
    make_data(folder / "data")
    settings = folder / "settings.yaml"
    port = find_free_port()
    settings.write_text(
        SETTINGS.format(
            data=folder / "data",
            port=port,
            name_of_loopback=NAME_OF_LOOPBACK,
            starts_per_s=STARTS_PER_S,
        )
    )
    arguments = ("--config", str(settings), "--algorithms", str(folder / "algorithms"))
    # as the password of a database would stand there
    env = {"DAGENGINE__CONNECTIONS__ELSEWHERE__URL": f"mysql://u:{ENVIRONMENT_CANARY}@127.0.0.1/x"}
    with run_serve(folder / "home", *arguments, env=env) as service:
        bench = Bench(
            service,
            make_watch(service, folder / "outside"),
            data=folder / "data",
            outside=folder / "outside",
            secrets=((folder / "home" / "secret").read_text().strip(),),
            ports=(port,),
            starts_per_s=STARTS_PER_S,
            tokens=make_tokens(service),
        )
        bench.secrets += tuple(bench.tokens.values())
        yield bench
        bench.watch.close()


def make_tokens(service: RunningService) -> dict[str, str]:
    """Make a token for every part that the cases play; the service sees them within two seconds."""
    now = dt.datetime.now(dt.UTC)
    parts = {
        "admin": {"role": "admin"},
        "viewer": {"role": "viewer"},
        "submitter": {"role": "submitter"},
        "other": {"role": "admin", "namespace": "other"},
        "flood": {"role": "submitter", "namespace": "flood"},
        "expired": {"role": "admin", "expires_at": now - dt.timedelta(days=1)},
        "revoked": {"role": "admin"},
    }
    tokens = {name: f"dagengine_{secrets.token_urlsafe(32)}" for name in parts}
    database = open_migrated(f"sqlite:///{service.home / 'dagengine.db'}")
    for name, facts in parts.items():
        record = stored_tokens.add_token(database, digest(tokens[name]), name=name, **facts)
        if name == "revoked":
            stored_tokens.revoke_token(database, record.id)
    database.close()
    service.session.headers["Authorization"] = f"Bearer {tokens['admin']}"
    wait_until(lambda: requests.get(f"{service.url}/api/v1/runs", timeout=20).status_code == 401)
    return tokens


def make_data(folder: Path) -> None:
    """Make what the settings allow: a file, and a database with a table and two endless views."""
    (folder / "good.csv").write_text("a,b\n1,2\n")
    with contextlib.closing(sqlite3.connect(folder / "plain.db")) as connection:
        connection.executescript(PLAIN_DATABASE)


def make_watch(service: RunningService, outside: Path) -> Watch:
    pids = service.find_pids()
    return Watch(service.home, outside, pids["api"], frozenset(pids.values()))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_answered_as_the_table_says(case: Case, bench: Bench) -> None:
    bench.seen.clear()

    case.check(bench)

    assert bench.seen == set(case.answers)


def test_the_table_is_complete() -> None:
    assert set(CASES) == {f"S{number}" for number in range(1, N_CASES + 1)}


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

    assert write_table() in page, write_table()
