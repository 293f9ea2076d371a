"""`dagengine secrets` and `dagengine connections` on a real SQLite database."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Dagengine

VALUE = "Kanarienvogel-4711"
URL = f"mysql+pymysql://root:{VALUE}@127.0.0.1:1/bank?auth_token=t0k3n-99"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "value.txt"
    path.write_text(f"{VALUE}\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def url_file(tmp_path: Path) -> str:
    path = tmp_path / "url.txt"
    path.write_text(f"{URL}\n", encoding="utf-8")
    return str(path)


def files_with(home: Path, text: str) -> list[str]:
    return [p.name for p in home.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def test_a_secret_is_stored_listed_and_deleted_and_shown_nowhere(
    dagengine: Dagengine, home: Path, secret_file: str
) -> None:
    at = ("--home", str(home))
    said = [dagengine("secrets", "add", "api_key", "--from-file", secret_file, *at)]
    assert said[0].out == "The secret api_key is stored.\n"
    said.append(dagengine("secrets", "add", "api_key", "--from-file", secret_file, *at))
    assert "replaced" in said[1].out
    for output in ("table", "json", "yaml"):
        said.append(dagengine("secrets", "list", "-o", output, *at))
        assert "api_key" in said[-1].out
    assert json.loads(said[3].out)[0]["source"] == "stored"
    assert files_with(home, VALUE) == []
    assert dagengine("secrets", "delete", "api_key", *at).code == 0
    assert dagengine("secrets", "delete", "api_key", *at).code == 1
    assert dagengine("secrets", "list", *at).out == "There are no secrets.\n"
    assert all(one.code == 0 and VALUE not in one.out + one.err for one in said)


def test_a_connection_is_shown_with_its_secrets_hidden(
    dagengine: Dagengine, home: Path, url_file: str
) -> None:
    at = ("--home", str(home))
    assert dagengine("connections", "add", "bank", "--from-file", url_file, *at).code == 0
    for output in ("table", "json", "yaml"):
        shown = dagengine("connections", "show", "bank", "-o", output, *at)
        listed = dagengine("connections", "list", "-o", output, *at)
        assert "mysql+pymysql://root:***@127.0.0.1:1/bank" in shown.out
        assert VALUE not in shown.out + listed.out
        assert "t0k3n" not in shown.out + listed.out
        assert "bank" in listed.out
    assert files_with(home, VALUE) == []


def test_a_failed_test_of_a_connection_says_no_password(
    dagengine: Dagengine, home: Path, url_file: str
) -> None:
    at = ("--home", str(home))
    Path(url_file).write_text(URL.partition("?")[0])
    dagengine("connections", "add", "bank", "--from-file", url_file, *at)
    said = dagengine("connections", "test", "bank", *at)
    assert said.code == 1
    assert "'bank' cannot be read" in said.err
    assert VALUE not in said.out + said.err


def test_a_good_connection_is_tried_from_here(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    at = ("--home", str(home))
    with sqlite3.connect(tmp_path / "bank.db") as database:
        database.execute("CREATE TABLE loans (x)")
    database.close()
    settings = tmp_path / "parts.yaml"
    settings.write_text(f"drivername: sqlite\ndatabase: {tmp_path}/bank.db\n")
    dagengine("connections", "add", "bank", "--from-file", str(settings), *at)
    said = dagengine("connections", "test", "bank", *at)
    assert (said.code, said.out) == (0, "The connection bank works: 1 tables and views.\n")
    dagengine("connections", "delete", "bank", *at)
    assert dagengine("connections", "test", "bank", *at).code == 1


@pytest.mark.parametrize("text", ["kanarienvogel", "[1]", "a: {b", "host: db", "{}"])
def test_what_is_no_connection_is_refused_without_being_shown(
    dagengine: Dagengine, home: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "settings"
    path.write_text(text)
    said = dagengine("connections", "add", "x", "--from-file", str(path), "--home", str(home))
    assert said.code == 2
    assert "kanarienvogel" not in said.err
    assert "connection" in said.err


def test_a_secret_given_as_the_name_is_not_repeated(dagengine: Dagengine, home: Path) -> None:
    said = dagengine("secrets", "add", "p@ss wörd!", "--home", str(home))
    assert said.code == 2
    assert "p@ss" not in said.err
    assert "letters, digits" in said.err


def test_a_rotation_says_what_it_did(dagengine: Dagengine, home: Path, secret_file: str) -> None:
    at = ("--home", str(home))
    dagengine("secrets", "add", "a", "--from-file", secret_file, *at)
    before = (home / "secret.key").read_text()
    said = dagengine("secrets", "rotate", *at)
    assert said.code == 0
    assert said.out.startswith("1 values are sealed with key ")
    assert before not in (home / "secret.key").read_text()


def test_a_key_file_that_others_can_read_is_refused_with_the_cure(
    dagengine: Dagengine, home: Path, secret_file: str
) -> None:
    at = ("--home", str(home))
    dagengine("secrets", "add", "a", "--from-file", secret_file, *at)
    (home / "secret.key").chmod(0o644)
    said = dagengine("secrets", "add", "b", "--from-file", secret_file, *at)
    assert said.code == 1
    assert "chmod 600" in said.err


def test_a_key_in_a_configuration_file_is_refused(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "dagengine.yaml"
    config.write_text("secrets:\n  key: a2FuYXJpZW52b2dlbGthbmFyaWVudm9nZWwxMjM0\n")
    said = dagengine("secrets", "list", "--config", str(config), "--home", str(home))
    assert said.code == 2
    assert "DAGENGINE__SECRETS__KEY" in said.err
    assert "a2FuYX" not in said.err


def test_a_key_of_the_environment_leaves_no_file(
    dagengine: Dagengine, home: Path, secret_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a2FuYXJpZW52b2dlbGthbmFyaWVudm9nZWxrYW5hcmk="
    monkeypatch.setenv("DAGENGINE__SECRETS__KEY", key)
    at = ("--home", str(home))
    assert dagengine("secrets", "add", "a", "--from-file", secret_file, *at).code == 0
    assert not (home / "secret.key").exists()
    shown = dagengine("config", "show", *at)
    assert "secrets.key" in shown.out
    assert key not in shown.out
    assert files_with(home, key) == []


def test_a_connection_of_the_configuration_is_listed_and_not_shown_in_plain(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "dagengine.yaml"
    config.write_text(f"connections:\n  bank:\n    url: {URL}\n")
    at = ("--config", str(config), "--home", str(home))
    assert "configuration" in dagengine("connections", "list", *at).out
    for said in (dagengine("connections", "show", "bank", *at), dagengine("config", "show", *at)):
        assert said.code == 0
        assert VALUE not in said.out


def test_a_wrong_configured_connection_is_refused_without_being_shown(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    config = tmp_path / "dagengine.yaml"
    config.write_text(f"connections:\n  bank: {URL}\nserver:\n  port: {VALUE}\n")
    said = dagengine("config", "show", "--config", str(config), "--home", str(home))
    assert said.code == 2
    assert URL not in said.err


@pytest.mark.parametrize("command", [("db", "check"), ("tokens", "list"), ("secrets", "list")])
def test_a_database_that_cannot_be_reached_is_told_of_without_its_password(
    dagengine: Dagengine, home: Path, command: tuple[str, str]
) -> None:
    said = dagengine(*command, "--home", str(home), "--database-url", URL.partition("?")[0])
    assert said.code == 1
    assert VALUE not in said.out + said.err


@pytest.mark.parametrize(
    "url",
    [f"mysql+pymysql://root:{VALUE}@", f"{VALUE}://x", f"oracle://a:{VALUE}@h/x", f"//{VALUE}"],
)
def test_a_database_url_that_is_none_is_told_of_without_its_password(
    dagengine: Dagengine, home: Path, url: str
) -> None:
    said = dagengine("db", "check", "--home", str(home), "--database-url", url)
    assert said.code != 0
    assert VALUE not in said.out + said.err


def test_a_namespace_that_cannot_be_is_refused(dagengine: Dagengine, home: Path) -> None:
    said = dagengine("secrets", "list", "--namespace", "system", "--home", str(home))
    assert said.code == 2
    assert "cannot be a namespace" in said.err


def test_a_secret_that_is_too_long_is_refused_here_as_over_http(
    dagengine: Dagengine, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "long"
    path.write_text("x" * 65_535)
    said = dagengine("secrets", "add", "long", "--from-file", str(path), "--home", str(home))
    assert said.code == 1
    assert "65536 bytes" in said.err
    assert dagengine("secrets", "list", "--home", str(home)).out == "There are no secrets.\n"


def test_a_name_that_ends_a_line_is_refused_as_over_http(
    dagengine: Dagengine, home: Path, secret_file: str
) -> None:
    said = dagengine("secrets", "add", "a\n", "--from-file", secret_file, "--home", str(home))
    assert (said.code, "letters, digits" in said.err) == (2, True)
