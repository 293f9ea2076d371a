"""Connections and secrets over HTTP: they go in, and never come out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dag_engine.storage import tokens as stored_tokens
from dag_engine.storage.secret_rows import SecretPlace
from executors.base import PortSpec
from tests.support.api_rig import YAML, ApiRig
from tests.support.example_catalogue import make_offer
from tests.support.read_meter import note_selects
from tests.support.tokens import digest

VALUE = "Kanarienvogel-4711"
URL = f"mysql+pymysql://root:{VALUE}@db.example/bank"
SCHEMA = {
    "properties": {
        "connection": {"type": "string", "format": "connection"},
        "api_key": {"type": "string", "format": "secret"},
        "password": {
            "anyOf": [
                {"type": "string", "format": "password", "writeOnly": True},
                {"type": "null"},
            ]
        },
    }
}


@pytest.fixture
def rig(make_rig: Callable[..., ApiRig]) -> ApiRig:
    made = make_rig(connections={"configured": {"url": URL}})
    made.register(
        make_offer("secretive", params_schema=SCHEMA, outputs=[PortSpec(name="o", type="report")])
    )
    return made


def write_dag(**params: Any) -> str:
    details = {"q": {"algo_name": "secretive", "data_type": "本地python", "params": params}}
    return yaml.safe_dump({"dag": {"operator_list": ["q"], "operator_details": details}})


def refuse(rig: ApiRig, **params: Any) -> tuple[str, str]:
    """Post a DAG that must be refused; gives the code, and all that was answered."""
    reply = rig.client.post("/api/v1/runs", data=write_dag(**params), content_type=YAML)
    assert reply.status_code == 422
    return reply.get_json()["errors"][0]["code"], reply.get_data(as_text=True)


def test_a_secret_is_stored_replaced_told_of_and_forgotten(rig: ApiRig) -> None:
    body = {"name": "api_key", "value": VALUE}
    made = rig.client.post("/api/v1/secrets", json=body)
    again = rig.client.post("/api/v1/secrets", json=body)
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.headers["Location"] == "/api/v1/secrets/api_key"
    found = rig.client.get("/api/v1/secrets/api_key")
    listed = rig.client.get("/api/v1/secrets")
    assert [item["name"] for item in listed.get_json()["items"]] == ["api_key"]
    assert set(found.get_json()) == {
        "name", "source", "key_id", "created_by", "created_at", "updated_at",
    }  # fmt: skip
    for reply in (made, again, found, listed):
        assert VALUE not in reply.get_data(as_text=True)
    assert rig.client.delete("/api/v1/secrets/api_key").status_code == 204
    assert rig.client.delete("/api/v1/secrets/api_key").status_code == 404
    assert rig.client.get("/api/v1/secrets/api_key").status_code == 404


@pytest.mark.parametrize(
    "fields", [{"url": URL}, {"settings": {"drivername": "mysql", "password": VALUE}}]
)
def test_a_connection_is_stored_beside_those_of_the_configuration(
    rig: ApiRig, fields: dict[str, Any]
) -> None:
    made = rig.client.post("/api/v1/connections", json={"name": "bank", **fields})
    assert made.status_code == 201, made.get_data(as_text=True)
    listed = rig.client.get("/api/v1/connections")
    assert [(item["name"], item["source"]) for item in listed.get_json()["items"]] == [
        ("bank", "stored"),
        ("configured", "configuration"),
    ]
    assert VALUE not in made.get_data(as_text=True) + listed.get_data(as_text=True)
    assert rig.client.get("/api/v1/connections/configured").status_code == 200
    assert rig.client.delete("/api/v1/connections/configured").status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("secrets", {"name": VALUE + "!", "value": VALUE}, 422),
        ("secrets", {"name": "a", "value": ""}, 422),
        ("secrets", {"name": "a", "value": {"x": VALUE}}, 422),
        ("secrets", {"name": "a", "value": VALUE, "x": VALUE}, 422),
        ("secrets", {"name": "a", "value": VALUE * 4000}, 413),
        ("connections", {"name": "a"}, 422),
        ("connections", {"name": "a", "url": URL, "settings": {"url": URL}}, 422),
        ("connections", {"name": "a", "settings": {"password": VALUE}}, 422),
    ],
)
def test_what_is_refused_is_not_repeated(
    rig: ApiRig, path: str, body: dict[str, Any], status: int
) -> None:
    reply = rig.client.post(f"/api/v1/{path}", json=body)
    assert reply.status_code == status
    assert VALUE not in reply.get_data(as_text=True)


def test_a_run_keeps_names_and_no_values(rig: ApiRig) -> None:
    rig.client.post("/api/v1/secrets", json={"name": "api_key", "value": VALUE})
    reply = rig.client.post(
        "/api/v1/runs",
        data=write_dag(connection="configured", api_key="api_key"),
        content_type=YAML,
    )
    assert reply.status_code == 202, reply.get_data(as_text=True)
    plan = rig.services.plans.get("default", reply.get_json()["id"])
    assert (plan.tasks[0].connections, plan.tasks[0].secrets) == (["configured"], ["api_key"])
    rig.client.delete("/api/v1/secrets/api_key")
    assert refuse(rig, api_key="api_key")[0] == "unknown_secret"


@pytest.mark.parametrize("value", [VALUE, 47114711, ["Kanarienvogel"], {"a": "Kanarienvogel"}])
def test_a_secret_in_the_dag_file_is_refused_and_not_repeated(rig: ApiRig, value: Any) -> None:
    for name, code in (
        ("password", "secret_inline"),
        ("api_key", "unknown_secret"),
        ("connection", "unknown_connection"),
    ):
        found, text = refuse(rig, **{name: value})
        assert found == (code if isinstance(value, str) else "bad_parameter")
        assert "Kanarienvogel" not in text
        assert "47114711" not in text


def test_a_secret_that_is_given_as_an_override_is_refused_too(rig: ApiRig) -> None:
    reply = rig.client.post(
        "/api/v1/runs",
        query_string={"params": f'{{"q": {{"password": "{VALUE}"}}}}'},
        data=write_dag(),
        content_type=YAML,
    )
    assert reply.status_code == 422
    assert reply.get_json()["errors"][0]["code"] == "secret_inline"
    assert VALUE not in reply.get_data(as_text=True)


def test_null_is_no_secret(rig: ApiRig) -> None:
    reply = rig.client.post("/api/v1/runs", data=write_dag(password=None), content_type=YAML)
    assert reply.status_code == 202


def test_a_key_that_others_can_read_is_not_used(rig: ApiRig) -> None:
    rig.client.post("/api/v1/secrets", json={"name": "a", "value": VALUE})
    (rig.home / "secret.key").chmod(0o644)
    reply = rig.client.post("/api/v1/secrets", json={"name": "b", "value": VALUE})
    assert (reply.status_code, reply.get_json()["code"]) == (503, "secret_key_unavailable")
    assert "chmod 600" in reply.get_json()["detail"]


def test_what_was_stored_is_answered_though_somebody_deletes_it_at_once(
    rig: ApiRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = rig.services.vault
    put = vault.put

    def put_and_lose(place: SecretPlace, value: Any, **fields: Any) -> Any:
        found = put(place, value, **fields)
        vault.delete(place)
        return found

    monkeypatch.setattr(vault, "put", put_and_lose)
    reply = rig.client.post("/api/v1/secrets", json={"name": "a", "value": VALUE})
    assert (reply.status_code, reply.get_json()["name"]) == (201, "a")


def test_who_has_no_name_is_known_by_the_tokens_id(rig: ApiRig) -> None:
    token = stored_tokens.add_token(rig.database, digest("t"), role="admin", name="")
    headers = {"Authorization": "Bearer t"}
    reply = rig.client.post("/api/v1/secrets", json={"name": "a", "value": VALUE}, headers=headers)
    assert reply.get_json()["created_by"] == token.id


def test_a_start_asks_for_no_name_twice(rig: ApiRig) -> None:
    properties = {**SCHEMA["properties"], "data": {"type": "string", "format": "dataset-id"}}
    offer = make_offer("secretive", params_schema={"properties": properties})
    rig.register(offer, catalogue_digest="with data")
    file = (io.BytesIO(b"n\n1\n"), "x.csv")
    assert rig.client.post("/api/v1/datasets", data={"file": file, "id": "40"}).status_code == 201
    rig.client.post("/api/v1/secrets", json={"name": "api_key", "value": VALUE})
    text = write_dag(data="40", api_key="api_key", connection="configured")
    replies: list[Any] = []

    statements = note_selects(
        rig.services.database,
        lambda: replies.append(rig.client.post("/api/v1/runs", data=text, content_type=YAML)),
    )

    assert replies[0].status_code == 202, replies[0].get_data(as_text=True)
    asked = [repr(one) for one in statements if "dataset" in one[0] or "secrets" in one[0]]
    assert len(asked) >= 3
    assert len(set(asked)) == len(asked)
