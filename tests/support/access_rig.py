"""Two teams behind one api, and requests that are made of the table of calls.

A call that is new is in every test of access by itself; one with a new part in its path asks, by
failing, to be taught here what stands there.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dag_engine.api.app import RESOURCES
from dag_engine.api.calls import EVENT_STREAM, JSON, MULTIPART, YAML, Call
from dag_engine.core.access import TOKEN_ROLES, Role
from dag_engine.storage import tables
from dag_engine.storage import tokens as stored_tokens
from tests.support.api_rig import ApiRig, write_dag
from tests.support.example_catalogue import make_offer
from tests.support.tokens import digest

CANARY = "canary"
ENDPOINTS = {
    f"{resource.name}.{call.name}": call for resource in RESOURCES for call in resource.calls
}
OWNED = ("dag_id", "run_id", "dataset_id", "sealed_name")
"""The parts of a path that name something of a namespace."""
_SEALED = re.compile(r"/(?:connections|secrets)/")
ALGORITHM = "algo_local_read_file"
PREVIEW = "algo_internal_preview_dataset"
_PART = re.compile(r"<(?:\w+:)?(\w+)>")
_numbers = itertools.count(1)


@dataclass
class Team:
    """A namespace, and a good token for each role in it."""

    namespace: str
    tokens: dict[Role, str] = field(default_factory=dict)

    def headers(self, role: Role = Role.SUBMITTER) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}


def parts_of(call: Call) -> list[str]:
    """List the parts of the call's path; `name` says elsewhere what it is the name of."""
    names = _PART.findall(call.rule)
    if _SEALED.search(call.rule):
        return ["sealed_name" if name == "name" else name for name in names]
    return names


def owned_parts(call: Call) -> list[str]:
    return [part for part in parts_of(call) if part in OWNED]


def fill(call: Call, places: dict[str, Any]) -> str:
    """Write the call's path; what no place is known for is an error of the test."""
    fixed = {"engine_id": "engine-甲", "name": ALGORITHM, "version": 1, "attempt": 1, "port": 0}
    if call.rule.startswith("/static/"):
        fixed["name"] = "app.css"
    words = iter(parts_of(call))
    return _PART.sub(lambda _: str({**fixed, **places}[next(words)]), call.rule)


def body_of(call: Call) -> dict[str, Any]:
    """Make a body that the call takes."""
    types = call.body.types if call.body is not None else ()
    if YAML in types:
        return {"data": write_dag("body_x", name="body"), "content_type": YAML}
    if MULTIPART in types:
        file = (io.BytesIO(b"n\nbody\n"), "body.csv")
        return {"data": {"file": file, "id": "body"}, "content_type": MULTIPART}
    if JSON in types:
        return {"json": {}}
    return {}


def forms_of(call: Call) -> list[dict[str, str]]:
    """List the headers by which the same call is asked for its different answers."""
    types = {kind for answer in call.answers.values() for kind in answer.types}
    return [{}] + ([{"Accept": EVENT_STREAM}] if EVENT_STREAM in types else [])


class AccessRig:
    """An api with two teams, each with tokens of all roles, and with tokens that are not good."""

    def __init__(self, home: Path, url: str) -> None:
        self.rig = ApiRig(home, url)
        self.rig.register(make_offer(PREVIEW))
        self.team_a, self.team_b = self.add_team("team-a"), self.add_team("team-b")
        now = dt.datetime.now(dt.UTC)
        self.expired = self.add_token("expired", self.team_a, Role.ADMIN, expires_at=now)
        self.revoked = self.add_token("revoked", self.team_a, Role.ADMIN)
        stored_tokens.revoke_token(self.rig.database, self.find_id("revoked"))

    def add_team(self, namespace: str) -> Team:
        team = Team(namespace)
        for role in TOKEN_ROLES.values():
            team.tokens[role] = self.add_token(f"{namespace}-{role.word}", team, role)
        return team

    def add_token(self, token: str, team: Team, role: Role, **changes: Any) -> str:
        stored_tokens.add_token(
            self.rig.database,
            digest(token),
            role=role.word,
            name=token,
            namespace=team.namespace,
            **changes,
        )
        return token

    def find_id(self, name: str) -> str:
        found = stored_tokens.list_tokens(self.rig.database)
        return next(token.id for token in found if token.name == name)

    def send(self, call: Call, places: dict[str, Any], headers: dict[str, str]) -> Any:
        """Send the call; what waits does not."""
        query = {"wait_s": 0} if any(one.name == "wait_s" for one in call.query) else {}
        return self.rig.client.open(
            fill(call, places),
            method=call.method,
            headers=headers,
            query_string=query,
            **body_of(call),
        )

    def make_things(self, team: Team, word: str) -> dict[str, Any]:
        """Make a definition, a run with all that it leaves behind, and a dataset, of new names."""
        name = f"{word}_{next(_numbers)}"
        headers = team.headers()
        client = self.rig.client
        run = client.post(
            "/api/v1/runs",
            data=write_dag(f"{name}_a", f"{name}_b<{name}_a", name=name),
            content_type=YAML,
            headers={**headers, "Idempotency-Key": f"{name}-key"},
        )
        assert run.status_code == 202, run.get_data(as_text=True)
        run_id, dag_id = run.get_json()["id"], run.get_json()["dag_id"]
        self.rig.play(run_id, "failed", **{f"{name}_a": "succeeded", f"{name}_b": "failed"})
        self.rig.write_log(run_id, 0, f"log of {name}\n")
        file = (io.BytesIO(f"n\n{name}\n".encode()), f"{name}.csv")
        data = client.post(
            "/api/v1/datasets", data={"file": file, "id": name, "name": name}, headers=headers
        )
        assert data.status_code == 201, data.get_data(as_text=True)
        for path, value in (
            ("connections", {"url": f"sqlite:///{name}"}),
            ("secrets", {"value": name}),
        ):
            kept = client.post(
                f"/api/v1/{path}", json={"name": name, **value}, headers=team.headers(Role.ADMIN)
            )
            assert kept.status_code == 201, kept.get_data(as_text=True)
        return {
            "dag_id": dag_id, "run_id": run_id, "dataset_id": name, "operator": f"{name}_a",
            "key": f"{name}-key", "name_of_dag": name, "sealed_name": name,
        }  # fmt: skip

    def dump(self) -> dict[str, list[Any]]:
        """Return every row that there is."""
        return self.rig.database.read(
            lambda connection: {
                table.name: [tuple(row) for row in connection.execute(sa.select(table))]
                for table in tables.metadata.sorted_tables
            }
        )

    def close(self) -> None:
        self.rig.close()


def post(access: AccessRig, team: Team, path: str, **options: Any) -> Any:
    headers = team.headers() | options.pop("headers", {})
    return access.rig.client.post(f"/api/v1/{path}", headers=headers, **options)


@contextmanager
def recorded_statements() -> Iterator[list[str]]:
    statements: list[str] = []

    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
