"""What stands in one namespace is not there for another: every route, made of the table of calls.

Bears S32.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.api.app import all_calls
from dag_engine.api.calls import Call
from dag_engine.core.access import TOKEN_ROLES, Role
from dag_engine.storage import tables, token_book
from tests.support.access_rig import (
    CANARY,
    AccessRig,
    Team,
    forms_of,
    owned_parts,
    post,
    recorded_statements,
)
from tests.support.api_rig import YAML, write_dag

ROLES = list(TOKEN_ROLES.values())
OF_OBJECTS = [call for call in all_calls() if owned_parts(call) and call.role > Role.ANYBODY]
LISTS = [
    call
    for call in all_calls()
    if call.method == "GET" and not owned_parts(call) and call.role > Role.ANYBODY
]
OVER_ALL_NAMESPACES = {"get_metrics"}
"""The calls that give figures of the whole service; they name nothing of a namespace."""


# --- whose things are seen ------------------------------------------------------------------------


SHARED = {
    "leader", "components", "operator_engines", "algorithms", "executors", "tokens",
    "alembic_version", "stale_reports",
}  # fmt: skip
OWNED_TABLES = {table.name for table in tables.metadata.sorted_tables} - SHARED


def is_bound_to_a_namespace(statement: str) -> bool:
    """Tell whether a statement that touches things of namespaces names one."""
    touched = set(re.findall(r"(?:FROM|JOIN|UPDATE|INTO)\s+(\w+)", statement)) & OWNED_TABLES
    if not touched:
        return True
    if statement.startswith("INSERT"):
        return bool(re.search(r"\([^)]*\bnamespace\b", statement))
    return any(re.search(rf"\b{table}\.namespace = ", statement) for table in touched)


@pytest.mark.parametrize(
    ("statement", "is_bound"),
    [
        ("SELECT runs.run_id FROM runs WHERE runs.run_id = ?", False),
        ("SELECT runs.namespace FROM runs WHERE runs.run_id = ?", False),
        ("SELECT * FROM runs WHERE runs.run_id = ? AND runs.namespace = ?", True),
        ("UPDATE dags SET name=? WHERE dags.dag_id = ?", False),
        ("DELETE FROM dags WHERE dags.namespace = ?", True),
        ("INSERT INTO commands (run_id, kind) VALUES (?, ?)", False),
        ("INSERT INTO commands (namespace, kind) VALUES (?, ?)", True),
        ("SELECT a.x FROM operator_engines", True),
        ("BEGIN IMMEDIATE", True),
    ],
)
def test_statements_without_a_namespace_are_told_from_others(
    statement: str, is_bound: bool
) -> None:
    assert is_bound_to_a_namespace(statement) is is_bound


def strip(reply: Any, places: dict[str, Any]) -> tuple[Any, ...]:
    """Return all of an answer but ids: the one asked for and that of the request."""
    text = reply.get_data(as_text=True)
    for word in (reply.headers["X-Request-Id"], *map(str, places.values())):
        text = text.replace(word, "…")
    headers = {
        name: value
        for name, value in reply.headers.items()
        if name not in ("X-Request-Id", "Content-Length")
    }
    return reply.status_code, headers, text


def rename(places: dict[str, Any], part: str) -> dict[str, Any]:
    """Name something that nobody has, as long as the original."""
    original = str(places[part])
    return {**places, part: original[:-3] + ("zzz" if not original.endswith("zzz") else "yyy")}


@pytest.mark.parametrize("call", OF_OBJECTS, ids=lambda call: call.name)
def test_things_of_another_namespace_are_not_there(access: AccessRig, call: Call) -> None:
    """The owner has the same things looked at first, so that what is kept in memory is there."""
    mine = access.make_things(access.team_a, CANARY)
    parts = owned_parts(call)
    for form in forms_of(call):
        if call.method == "GET":
            reply = access.send(call, mine, access.team_a.headers() | form)
            assert reply.status_code not in (401, 403, 404), reply.get_data(as_text=True)
            reply.close()
        before = access.dump()
        for role in (call.role, Role.ADMIN):
            headers = access.team_b.headers(max(role, call.role)) | form
            with recorded_statements() as statements:
                foreign = access.send(call, mine, headers)
                assert [s for s in statements if not is_bound_to_a_namespace(s)] == []
            unknown = access.send(call, rename(mine, parts[0]), headers)
            assert foreign.status_code == 404, foreign.get_data(as_text=True)
            assert strip(foreign, mine) == strip(unknown, rename(mine, parts[0]))
        assert access.dump() == before, "a refused call writes nothing"
    with recorded_statements() as statements:
        reply = access.send(call, mine, access.team_a.headers(max(call.role, Role.SUBMITTER)))
        assert reply.status_code not in (401, 403, 404), reply.get_data(as_text=True)
        reply.close()
    assert statements
    assert [s for s in statements if not is_bound_to_a_namespace(s)] == []


@pytest.fixture(scope="module")
def things(access: AccessRig) -> dict[str, Any]:
    """Things of both teams: the first's bear the canary's name."""
    access.make_things(access.team_b, "plain")
    return access.make_things(access.team_a, CANARY)


@pytest.mark.parametrize("call", LISTS, ids=lambda call: call.name)
def test_no_list_tells_of_another_namespace(
    access: AccessRig, things: dict[str, Any], call: Call
) -> None:
    ids = (things["run_id"], things["dag_id"], access.team_a.namespace)
    for role in (role for role in ROLES if role >= call.role):
        with recorded_statements() as statements:
            reply = access.send(call, {}, access.team_b.headers(role))
        text = reply.get_data(as_text=True)
        assert reply.status_code not in (401, 403, 404)
        assert CANARY not in text
        assert not [one for one in ids if one in text]
        if call.name not in OVER_ALL_NAMESPACES:
            assert [s for s in statements if not is_bound_to_a_namespace(s)] == []


def items(access: AccessRig, team: Team, path: str, **query: Any) -> Any:
    reply = access.rig.client.get(
        f"/api/v1/{path}", headers=team.headers(Role.VIEWER), query_string=query
    )
    assert reply.status_code == 200, reply.get_data(as_text=True)
    return reply.get_json()


@pytest.mark.parametrize("path", ["runs", "dags", "datasets"])
def test_cursor_of_one_namespace_opens_nothing_in_another(access: AccessRig, path: str) -> None:
    names = {"runs": "run_id", "dags": "dag_id", "datasets": "dataset_id"}
    both = [access.make_things(t, w)[names[path]] for _ in range(2) for t, w in
            ((access.team_a, CANARY), (access.team_b, "plain"))]  # fmt: skip
    cursor = items(access, access.team_a, path, limit=1)["next_cursor"]

    seen = [one["id"] for one in items(access, access.team_b, path, cursor=cursor)["items"]]
    all_of_b = [one["id"] for one in items(access, access.team_b, path)["items"]]

    assert set(both[1::2]) <= set(all_of_b)
    assert set(seen) <= set(all_of_b)
    assert not set(both[0::2]) & set(seen + all_of_b)


# --- what is made in a namespace ------------------------------------------------------------------


def test_idempotency_key_of_one_namespace_is_free_in_another(access: AccessRig) -> None:
    mine = access.make_things(access.team_a, CANARY)
    body = {"data": write_dag("x", name="theirs"), "content_type": YAML}
    key = {"Idempotency-Key": mine["key"]}

    first = post(access, access.team_b, "runs", headers=key, **body)
    again = post(access, access.team_b, "runs", headers=key, **body)

    assert first.status_code == 202, first.get_data(as_text=True)
    assert first.get_json()["id"] == again.get_json()["id"] != mine["run_id"]
    conflict = post(access, access.team_a, "runs", headers=key, **body)
    assert conflict.status_code == 422, "it is still taken where it was used"


def test_dag_of_the_same_name_is_another_one(access: AccessRig) -> None:
    mine = access.make_things(access.team_a, CANARY)
    body = {"data": write_dag("other", name=mine["name_of_dag"]), "content_type": YAML}

    made = post(access, access.team_b, "dags", **body)
    started = post(access, access.team_b, "runs", **body).get_json()

    assert made.status_code == 201
    assert made.get_json()["version"] == 1
    assert started["dag_id"] == made.get_json()["id"] != mine["dag_id"]
    versions = items(access, access.team_a, f"dags/{mine['dag_id']}/versions")["items"]
    assert [one["version"] for one in versions] == [1]


def count_previews(access: AccessRig) -> int:
    is_system = tables.runs.c.namespace == "system"
    query = sa.select(sa.func.count()).select_from(tables.runs).where(is_system)
    return int(access.rig.database.read(lambda connection: connection.scalar(query)) or 0)


def test_dataset_of_the_same_id_is_another_one_with_bytes_and_preview_of_its_own(
    access: AccessRig,
) -> None:
    mine = access.make_things(access.team_a, CANARY)
    theirs = b"plain\nrow\n"
    name = mine["dataset_id"]
    form = {"file": (io.BytesIO(theirs), f"{name}.csv"), "id": name}
    made = post(access, access.team_b, "datasets", data=form)
    assert made.get_json()["version"] == 1

    folder = access.rig.home / "artifacts" / "datasets"
    files = [
        (folder / team.namespace / name / "v1" / f"{name}.csv").read_bytes()
        for team in (access.team_a, access.team_b)
    ]
    assert (CANARY.encode() in files[0], files[1]) == (True, theirs)

    before = count_previews(access)
    pending = [
        access.rig.client.get(
            f"/api/v1/datasets/{name}/preview?wait_s=0", headers=team.headers(Role.VIEWER)
        ).status_code
        for team in (access.team_a, access.team_b)
    ]
    assert pending == [503, 503]
    assert count_previews(access) - before == 2, "each has a run of its own read its own file"


def test_definition_cannot_name_a_dataset_of_another_namespace(access: AccessRig) -> None:
    mine = access.make_things(access.team_a, CANARY)
    text = (Path(__file__).parents[2] / "data" / "credit_default.yaml").read_text()

    def validate(team: Team, dataset_id: str) -> str:
        body = re.sub(r"data_id: .*", f"data_id: {dataset_id}", text)
        reply = post(access, team, "dags:validate", data=body, content_type=YAML)
        return str(reply.get_json()).replace(dataset_id, "…")

    unknown = rename(mine, "dataset_id")["dataset_id"]
    assert validate(access.team_a, mine["dataset_id"]) == "{'valid': True, 'problems': []}"
    assert validate(access.team_b, mine["dataset_id"]) == validate(access.team_b, unknown)
    assert "'valid': False" in validate(access.team_b, unknown)
    assert CANARY not in validate(access.team_b, unknown)


def test_former_results_and_base_runs_are_those_of_the_namespace(
    access: AccessRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same definition in both: what one has computed is nothing to the other."""
    monkeypatch.setattr(token_book, "KEPT_S", 0.0)
    team_c = access.add_team("team-c")
    body = {"data": write_dag("up", "down<up", name="both"), "content_type": YAML}
    mine = post(access, access.team_a, "runs", **body).get_json()
    access.rig.play(mine["id"], "succeeded", up="succeeded", down="succeeded")
    theirs = post(access, team_c, "runs", **body).get_json()
    part = {"range": "only", "operators": "down"}

    owner = post(access, access.team_a, "runs", query_string=part, **body)
    other = post(access, team_c, "runs", query_string=part, **body)
    assert owner.status_code == 202, owner.get_data(as_text=True)
    assert (other.status_code, other.get_json()["code"]) == (409, "missing_artifacts")

    access.rig.play(theirs["id"], "succeeded", up="succeeded", down="succeeded")
    newer = post(access, access.team_a, "runs", **body).get_json()
    access.rig.play(newer["id"], "succeeded", up="succeeded", down="succeeded")
    dry = part | {"dry_run": "true"}
    plan = post(access, team_c, "runs", query_string=dry, **body).get_json()
    assert [one["run_id"] for one in plan["reused"]] == [theirs["id"]]

    unknown = mine["id"][:-3] + "zzz"
    for path in ("runs", f"dags/{theirs['dag_id']}/runs"):
        answers = []
        for base in (mine["id"], unknown):
            options = (
                {"query_string": {"base_run": base}, **body}
                if path == "runs"
                else {"json": {"base_run": base}}
            )
            reply = post(access, team_c, path, **options)
            answers.append(strip(reply, {"run": base}))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
