"""Every route, with every kind of token and role: made of the table of calls.

Bears S30, S31, S33 and what S40 says of tokens of the wrong kind.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Response

from dag_engine.api.access import caller
from dag_engine.api.app import all_calls
from dag_engine.api.calls import API_PREFIX, Call
from dag_engine.core.access import TOKEN_ROLES, Caller, Role
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage import tables, token_book
from dag_engine.storage import tokens as stored_tokens
from tests.support.access_rig import (
    CANARY,
    ENDPOINTS,
    AccessRig,
    fill,
    post,
    recorded_statements,
)
from tests.support.api_rig import SECRET, YAML, write_dag

PLACES = {
    "dag_id": "d1",
    "run_id": "r1",
    "operator": "a",
    "dataset_id": "s1",
    "sealed_name": "bank",
}
ROLES = list(TOKEN_ROLES.values())
every_call = pytest.mark.parametrize("call", all_calls(), ids=lambda call: call.name)


# --- who is let in --------------------------------------------------------------------------------


@pytest.fixture
def reached(access: AccessRig, monkeypatch: pytest.MonkeyPatch) -> list[Caller | None]:
    """Replace every handler by one that only notes that it was reached, and for whom."""
    callers: list[Caller | None] = []

    def note(**path: Any) -> Response:
        callers.append(caller() if path.pop("is_guarded") else None)
        return Response(status=204)

    def stand_in(call: Call) -> Callable[..., Response]:
        return lambda **path: note(**path, is_guarded=call.role > Role.ANYBODY)

    views = {endpoint: stand_in(call) for endpoint, call in ENDPOINTS.items()}
    monkeypatch.setattr(access.rig.app, "view_functions", views)
    return callers


def sign_nothing(**claims: Any) -> str:
    """Make a JSON web token that says of itself that it needs no signature."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode() for p in parts) + "."


def bad_credentials(access: AccessRig, token: str) -> dict[str, dict[str, Any]]:
    """Name the ways to come without a good token; `token` is one that is good."""
    basic = base64.b64encode(f"{token}:{token}".encode()).decode()
    attempt = AttemptTokens(SECRET).make("r1.0.1")

    def header(value: str) -> dict[str, Any]:
        return {"headers": {"Authorization": value}}

    return {
        "none": {},
        "empty": header("Bearer "),
        "garbage": header("Bearer \xff\x01'; --"),
        "another": header(f"Bearer {token}x"),
        "cut": header(f"Bearer {token[:-1]}"),
        "expired": header(f"Bearer {access.expired}"),
        "revoked": header(f"Bearer {access.revoked}"),
        "basic": header(f"Basic {basic}"),
        "scheme": header(f"Token {token}"),
        "bare": header(token),
        "unsigned": header(f"Bearer {sign_nothing(role='admin', sub=token)}"),
        "attempt": header(f"Bearer {attempt}"),
        "in the address": {
            "query_string": {"token": token, "access_token": token, "authorization": token}
        },
        "in a cookie": {"headers": {"Cookie": f"token={token}; Authorization=Bearer {token}"}},
        "secret of another": {"headers": {"x-dagengine-secret": "another"}},
    }


@every_call
def test_without_a_good_token_no_handler_is_reached(
    access: AccessRig, reached: list[Caller | None], call: Call
) -> None:
    open_call = access.rig.client.open
    for token in (access.team_a.tokens[Role.ADMIN], access.team_b.tokens[Role.VIEWER]):
        for name, sent in bad_credentials(access, token).items():
            reached.clear()
            reply = open_call(fill(call, PLACES), method=call.method, **sent)
            if call.role is Role.ANYBODY:
                assert (reply.status_code, reached) == (204, [None]), name
                continue
            assert (reply.status_code, reached) == (401, []), name
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            assert reply.get_json()["code"] in ("token_missing", "token_unknown")
            assert token not in reply.get_data(as_text=True)


@every_call
def test_handler_is_reached_by_the_roles_that_the_call_declares(
    access: AccessRig, reached: list[Caller | None], call: Call
) -> None:
    methods = [call.method] + (["HEAD"] if call.method == "GET" else [])
    for team in (access.team_a, access.team_b):
        for role in ROLES:
            for method in methods:
                reached.clear()
                reply = access.rig.client.open(
                    fill(call, PLACES), method=method, headers=team.headers(role)
                )
                if role >= call.role:
                    assert reply.status_code == 204, (role, method)
                    [who] = reached
                    if call.role > Role.ANYBODY:
                        assert who is not None
                        assert (who.role, who.namespace) == (role, team.namespace)
                    continue
                assert (reply.status_code, reached) == (403, []), (role, method)
                if method != "HEAD":
                    assert reply.get_json()["code"] == "role_too_small"
                    assert call.role.word in reply.get_json()["detail"]


@every_call
def test_secret_of_the_installation_opens_internal_calls_alone(
    access: AccessRig, reached: list[Caller | None], call: Call
) -> None:
    for headers in ({"x-dagengine-secret": SECRET}, {"Authorization": f"Bearer {SECRET}"}):
        reached.clear()
        reply = access.rig.client.open(fill(call, PLACES), method=call.method, headers=headers)
        is_let_in = call.rule.startswith("/internal/") or call.role is Role.ANYBODY
        assert (reply.status_code == 204, len(reached)) == (is_let_in, int(is_let_in))


def test_the_table_of_calls_asks_for_what_the_roles_promise() -> None:
    """The roles by their meaning, so that none of them shrinks unnoticed."""
    for call in all_calls():
        if call.rule.startswith("/internal/"):
            assert call.role is Role.OPERATOR, call.name
        elif call.rule.startswith(API_PREFIX) and call.name != "get_openapi":
            least = Role.VIEWER if call.method == "GET" else Role.SUBMITTER
            assert call.role >= least, call.name
        elif call.name == "get_metrics":
            assert call.role is Role.OPERATOR
        else:
            assert (call.method, call.role) == ("GET", Role.ANYBODY), call.name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.word)
def test_who_cannot_see_the_service_learns_of_its_health_only_whether_it_is_well(
    access: AccessRig, role: Role
) -> None:
    health = access.rig.client.get("/healthz", headers=access.team_b.headers(role)).get_json()

    assert ("components" in health) == (role >= Role.OPERATOR)
    assert set(access.rig.client.get("/healthz").get_json()) == {"status"}


# --- an admin, and the passing of time ------------------------------------------------------------


def test_admin_acts_in_the_namespace_that_it_names_and_nobody_else_does(access: AccessRig) -> None:
    mine = access.make_things(access.team_a, CANARY)
    path = f"/api/v1/runs/{mine['run_id']}"
    step = {"X-Dagengine-Namespace": "team-a"}

    for role in ROLES:
        reply = access.rig.client.get(path, headers=access.team_b.headers(role) | step)
        assert reply.status_code == (200 if role is Role.ADMIN else 403)
    seen = access.rig.client.get(
        "/api/v1/caller", headers=access.team_b.headers(Role.ADMIN) | step
    ).get_json()
    assert seen == {"name": "team-b-admin", "role": "admin", "namespace": "team-a"}


def test_who_did_it_stands_with_what_was_done(access: AccessRig) -> None:
    mine = access.make_things(access.team_a, CANARY)
    run = post(access, access.team_a, f"dags/{mine['dag_id']}/runs").get_json()
    post(access, access.team_a, f"runs/{run['id']}:cancel")

    def creator(table: sa.Table, **key: str) -> Any:
        where = [table.c[name] == value for name, value in key.items()]
        query = sa.select(table.c.created_by).where(*where)
        return access.rig.database.read(lambda connection: connection.scalar(query))

    found = {
        creator(tables.runs, run_id=run["id"]),
        creator(tables.commands, run_id=run["id"]),
        creator(tables.dag_versions, dag_id=mine["dag_id"]),
        creator(tables.dataset_versions, dataset_id=mine["dataset_id"]),
    }
    assert found == {"team-a-submitter"}


def test_asking_who_calls_costs_no_query_of_its_own(access: AccessRig) -> None:
    headers = access.team_a.headers(Role.VIEWER)
    access.rig.client.get("/api/v1/caller", headers=headers)
    with recorded_statements() as statements:
        for _ in range(20):
            assert access.rig.client.get("/api/v1/caller", headers=headers).status_code == 200

    reads = [statement for statement in statements if "tokens" in statement]
    assert len(reads) <= 1
    assert statements == reads


def test_stream_ends_when_its_token_is_revoked(
    access: AccessRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_book, "KEPT_S", 0.0)
    token = access.add_token("leaving", access.team_a, Role.VIEWER)
    run_id = post(
        access, access.team_a, "runs", data=write_dag("live"), content_type=YAML
    ).get_json()["id"]
    access.rig.play(run_id, "running", live="running")
    access.rig.write_log(run_id, 0, "first\n")
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    with (
        access.rig.client.get(f"/api/v1/runs/{run_id}/events", headers=headers) as events,
        access.rig.client.get(
            f"/api/v1/runs/{run_id}/tasks/live/attempts/1/log", headers=headers
        ) as log,
    ):
        told, written = events.iter_encoded(), log.iter_encoded()
        assert next(told).startswith(b":")
        assert b"running" in next(told)
        assert b"first" in next(written)

        stored_tokens.revoke_token(access.rig.database, access.find_id("leaving"))
        access.rig.play(run_id, "succeeded", live="succeeded")
        access.rig.write_log(run_id, 0, "second\n")

        assert list(told) == []
        assert list(written) == []
