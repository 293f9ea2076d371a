"""Tokens on a database of their own, and what clients say who come without the right one."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.canned_api import CannedApi
from tests.unit.cli.conftest import Dagengine


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def add(dagengine: Dagengine, home: Path, *options: str) -> Any:
    said = dagengine("tokens", "add", "me", *options, "--home", str(home), "-o", "json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_token_is_a_submitter_in_the_default_namespace_unless_said_otherwise(
    dagengine: Dagengine, home: Path
) -> None:
    plain = add(dagengine, home)
    other = add(dagengine, home, "--role", "viewer", "--namespace", "team-b", "--expires-in", "2d")

    assert (plain["role"], plain["namespace"], plain["expires_at"]) == (
        "submitter",
        "default",
        None,
    )
    assert (other["role"], other["namespace"]) == ("viewer", "team-b")
    lasts = dt.datetime.fromisoformat(other["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(hours=47) < lasts <= dt.timedelta(hours=48)
    assert plain["token"] != other["token"]
    assert len(plain["token"]) > 43, "256 bits"


def test_list_tells_role_and_namespace_but_no_token(dagengine: Dagengine, home: Path) -> None:
    made = add(dagengine, home, "--role", "operator", "--namespace", "team-b")
    add(dagengine, home)

    table = dagengine("tokens", "list", "--home", str(home)).out
    assert "operator" in table
    assert "team-b" in table
    assert made["token"] not in table
    listed = dagengine("tokens", "list", "--namespace", "team-b", "--home", str(home), "-o", "json")
    assert [one["id"] for one in json.loads(listed.out)] == [made["id"]]


@pytest.mark.parametrize(
    "options",
    [
        ("--role", "root"), ("--role", "anybody"), ("--namespace", "system"),
        ("--namespace", "Team B"), ("--namespace", "../x"), ("--expires-in", "soon"),
    ],
)  # fmt: skip
def test_token_that_would_be_no_good_is_not_made(
    dagengine: Dagengine, home: Path, options: tuple[str, ...]
) -> None:
    said = dagengine("tokens", "add", "me", *options, "--home", str(home))

    assert said.code == 2
    assert options[1] in said.err
    assert dagengine("tokens", "list", "--home", str(home)).out.startswith("There are no tokens")


def test_who_revokes_the_last_token_learns_what_that_opens(
    dagengine: Dagengine, home: Path
) -> None:
    first, last = add(dagengine, home), add(dagengine, home)

    said = dagengine("tokens", "revoke", first["id"], "--home", str(home))
    assert (said.code, "last one" in said.err) == (0, False)
    said = dagengine("tokens", "revoke", last["id"], "--home", str(home))
    assert (said.code, "last one" in said.err) == (0, True)
    said = dagengine("tokens", "revoke", "t-unknown", "--home", str(home))
    assert said.code != 0
    assert "t-unknown" in said.err


def test_namespace_and_token_of_the_command_or_the_environment_are_sent(
    canned: CannedApi, dagengine: Dagengine, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned.put("GET /api/v1/runs", {"items": [], "next_cursor": None})
    dagengine("runs", "list", "--token", "t", "--namespace", "team-b")
    monkeypatch.setenv("DAGENGINE_TOKEN", "u")
    monkeypatch.setenv("DAGENGINE_NAMESPACE", "team-c")
    dagengine("runs", "list")
    monkeypatch.delenv("DAGENGINE_NAMESPACE")
    dagengine("runs", "list")

    asked = [{name.lower(): value for name, value in one.headers.items()}
             for one in canned.find("GET /api/v1/runs")]  # fmt: skip
    assert [one["authorization"] for one in asked] == ["Bearer t", "Bearer u", "Bearer u"]
    namespaces = [one.get("x-dagengine-namespace") for one in asked]
    assert namespaces == ["team-b", "team-c", None]


def test_odd_namespace_is_refused_before_anything_is_sent(
    canned: CannedApi, dagengine: Dagengine
) -> None:
    said = dagengine("runs", "list", "--namespace", "Größe")

    assert said.code == 2
    assert "namespace" in said.err
    assert canned.asked == []


def test_missing_token_says_how_to_name_one(canned: CannedApi, dagengine: Dagengine) -> None:
    problem = {"code": "token_missing", "detail": "This service asks for a token.", "hint": "HTTP"}
    canned.put("GET /api/v1/runs", problem, status=401)

    said = dagengine("runs", "list")

    assert said.code == 5
    assert "asks for a token" in said.err
    assert "--token or DAGENGINE_TOKEN" in said.err


def test_small_role_says_which_one_is_needed(canned: CannedApi, dagengine: Dagengine) -> None:
    problem = {
        "code": "role_too_small",
        "detail": "This call asks for the role submitter; the token has viewer.",
        "hint": "Use a token with the role submitter.",
    }
    canned.put("POST /api/v1/runs/r1:cancel", problem, status=403)

    said = dagengine("runs", "cancel", "r1")

    assert said.code == 5
    assert "asks for the role submitter" in said.err
    assert "hint:" in said.err
