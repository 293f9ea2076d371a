"""Secrets are kept sealed, bound to their row, and survive a change of the key."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dag_engine.config import Config, SecretsConfig
from dag_engine.storage import keys, rotation, tables
from dag_engine.storage import secrets as stored
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError, SecretKeyError, SecretUnreadableError
from dag_engine.storage.secret_rows import SecretPlace
from dag_engine.storage.vault import Vault
from tests.support.interleaving import meanwhile

VALUE = "Kanarienvogel-4711"
PLACE = SecretPlace("default", "secret", "api_key")
KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(home=tmp_path)


@pytest.fixture
def vault(config: Config, database: Database) -> Vault:
    return Vault(config, lambda: database)


def with_keys(home: Path, *numbers: int) -> Config:
    return Config(home=home, secrets=SecretsConfig(key=",".join(KEYS[n] for n in numbers)))


def read_all(database: Database) -> str:
    return repr(database.read(lambda c: c.execute(sa.select(tables.secrets)).all()))


def change_row(database: Database, place: SecretPlace, **values: object) -> None:
    database.run_txn(
        lambda c: c.execute(
            tables.secrets.update()
            .where(tables.secrets.c.name == place.name, tables.secrets.c.kind == place.kind)
            .values(**values)
        )
    )


def test_a_secret_comes_back_and_is_nowhere_in_the_database(
    vault: Vault, database: Database
) -> None:
    record, is_new = vault.put(PLACE, VALUE, created_by="小王")
    assert is_new
    assert (record.name, record.created_by) == ("api_key", "小王")
    url = f"mysql://root:{VALUE}@db/x"
    vault.put(SecretPlace("default", "connection", "bank"), {"url": url}, created_by="")
    assert vault.open("default", ["bank"], ["api_key"]).secrets == {"api_key": VALUE}
    assert vault.open("default", ["bank"], []).connections == {"bank": {"url": url}}
    dump = read_all(database)
    assert VALUE not in dump
    assert base64.b64encode(VALUE.encode()).decode()[:-4] not in dump
    assert VALUE not in repr(vault.open("default", ["bank"], ["api_key"]))


def test_a_secret_is_replaced_by_its_name_and_forgotten(vault: Vault) -> None:
    first, _ = vault.put(PLACE, "one", created_by="a")
    second, is_new = vault.put(PLACE, "two", created_by="b")
    assert not is_new
    assert (second.created_at, second.created_by) == (first.created_at, "a")
    assert second.updated_at > first.updated_at
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": "two"}
    vault.delete(PLACE)
    with pytest.raises(NotFoundError):
        vault.delete(PLACE)
    with pytest.raises(SecretUnreadableError, match="dagengine secrets add api_key"):
        vault.open("default", [], ["api_key"])


def test_a_name_that_is_forgotten_while_it_is_stored_anew_is_no_failure(
    vault: Vault, database: Database
) -> None:
    vault.put(PLACE, "one", created_by="")
    sealed = stored.load_sealed(database, [PLACE])[PLACE]
    with meanwhile(database, "FROM secrets", lambda: vault.delete(PLACE)):
        record, is_new = stored.put_secret(database, sealed)
    assert (record.name, is_new) == ("api_key", False)
    assert vault.list_all("default", "secret") == []


def test_names_are_of_their_namespace_and_kind_alone(vault: Vault) -> None:
    vault.put(PLACE, "one", created_by="")
    vault.put(SecretPlace("team", "secret", "api_key"), "two", created_by="")
    vault.put(SecretPlace("team", "connection", "bank"), {"url": "a://b"}, created_by="")
    assert set(vault.names("default", "secret")) == {"api_key"}
    assert set(vault.names("default", "connection")) == set()
    assert [item.name for item in vault.list_all("team", "connection")] == ["bank"]
    assert vault.open("team", [], ["api_key"]).secrets == {"api_key": "two"}
    with pytest.raises(SecretUnreadableError):
        vault.open("default", ["bank"], [])


def test_configured_connections_belong_to_the_default_namespace_and_stand_behind_stored_ones(
    tmp_path: Path, database: Database
) -> None:
    config = Config(home=tmp_path, connections={"bank": {"url": "a://configured"}})
    vault = Vault(config, lambda: database)
    assert vault.open("default", ["bank"], []).connections["bank"] == {"url": "a://configured"}
    assert "bank" in vault.names("default", "connection")
    assert "bank" not in vault.names("team", "connection")
    with pytest.raises(SecretUnreadableError):
        vault.open("team", ["bank"], [])
    place = SecretPlace("default", "connection", "bank")
    assert vault.find(place).source == "configuration"
    vault.put(place, {"url": "a://stored"}, created_by="")
    assert vault.open("default", ["bank"], []).connections["bank"] == {"url": "a://stored"}
    assert [item.source for item in vault.list_all("default", "connection")] == ["stored"]


@pytest.mark.parametrize("changed", ["name", "kind", "namespace"])
def test_a_row_that_is_moved_to_another_place_does_not_open(
    vault: Vault, database: Database, changed: str
) -> None:
    vault.put(PLACE, VALUE, created_by="")
    moved = {"name": "mine", "kind": "connection", "namespace": "team"}[changed]
    change_row(database, PLACE, **{changed: moved})
    values = {"namespace": "default", "kind": "secret", "name": "api_key", changed: moved}
    is_connection = values["kind"] == "connection"
    names = [values["name"]]
    with pytest.raises(SecretUnreadableError, match="written for another name"):
        vault.open(values["namespace"], names if is_connection else [],
                   [] if is_connection else names)  # fmt: skip


def test_a_damaged_row_does_not_open(vault: Vault, database: Database) -> None:
    vault.put(PLACE, VALUE, created_by="")
    sealed = stored.load_sealed(database, [PLACE])[PLACE].sealed
    for damaged in (b"", sealed[:5], sealed[:-1], sealed[:-1] + b"x", b"\x02" + sealed[1:]):
        change_row(database, PLACE, sealed=damaged)
        with pytest.raises(SecretUnreadableError, match="damaged"):
            vault.open("default", [], ["api_key"])


def test_a_missing_key_is_called_by_its_id(tmp_path: Path, database: Database) -> None:
    Vault(with_keys(tmp_path, 1), lambda: database).put(PLACE, VALUE, created_by="")
    wanted = keys.load_keys(with_keys(tmp_path, 1)).current.id
    wrong = Vault(with_keys(tmp_path, 2), lambda: database)
    with pytest.raises(SecretUnreadableError, match=f"sealed with key {wanted}") as caught:
        wrong.open("default", [], ["api_key"])
    assert VALUE not in str(caught.value)
    assert wrong.check_keys()[1] == [wanted]
    both = Vault(with_keys(tmp_path, 2, 1), lambda: database)
    assert both.open("default", [], ["api_key"]).secrets == {"api_key": VALUE}
    assert both.check_keys()[1] == []


def test_a_lost_key_file_is_not_replaced_by_another_in_silence(
    tmp_path: Path, vault: Vault
) -> None:
    vault.put(PLACE, VALUE, created_by="")
    (tmp_path / "secret.key").unlink()
    with pytest.raises(SecretKeyError, match=r"no key file .*backup.*rotate"):
        vault.put(PLACE, "other", created_by="")
    assert not (tmp_path / "secret.key").exists()


def test_a_rotation_seals_everything_anew_and_drops_the_old_key(
    tmp_path: Path, vault: Vault, config: Config, database: Database
) -> None:
    places = [SecretPlace("default", "secret", f"s{number}") for number in range(230)]
    places.append(SecretPlace("team", "connection", "bank"))
    for place in places:
        vault.put(place, f"value of {place.name}", created_by="")
    old = keys.load_keys(config).current
    done = rotation.rotate_keys(config, database)
    ring = keys.load_keys(config)
    assert (done.n_resealed, done.unreadable, done.kept) == (231, [], [])
    assert ring.ids() == [done.key_id]
    assert old.id != done.key_id
    assert stored.list_key_ids(database) == [done.key_id]
    opened = vault.open("default", [], [place.name for place in places[:-1]])
    assert opened.secrets["s229"] == "value of s229"
    assert old.text not in (tmp_path / "secret.key").read_text()


def test_a_broken_off_rotation_loses_nothing_and_is_done_again(
    vault: Vault, config: Config, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(PLACE, VALUE, created_by="")

    def break_off(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stored, "reseal", break_off)
        with pytest.raises(KeyboardInterrupt):
            rotation.rotate_keys(config, database)
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": VALUE}
    done = rotation.rotate_keys(config, database)
    assert done.n_resealed == 1
    assert keys.load_keys(config).ids() == [done.key_id]


def test_what_a_service_seals_with_the_old_key_during_a_rotation_is_sealed_anew(
    vault: Vault, config: Config, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(PLACE, "first", created_by="")
    put = stored.put_secret
    rotated: list[str] = []

    def rotate_before_it_is_stored(*args: object, **options: object) -> object:
        if not rotated:
            rotated.append(rotation.rotate_keys(config, database).key_id)
        return put(*args, **options)

    monkeypatch.setattr(stored, "put_secret", rotate_before_it_is_stored)
    vault.put(PLACE, VALUE, created_by="")
    assert stored.list_key_ids(database) == rotated
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": VALUE}


def test_two_rotations_at_once_lose_nothing(
    vault: Vault, config: Config, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(PLACE, VALUE, created_by="")
    write, others = keys.write_keys, list[threading.Thread]()

    def rotate_meanwhile(*args: Any, **options: Any) -> None:
        if not others:
            others.append(threading.Thread(target=rotation.rotate_keys, args=(config, database)))
            others[0].start()
            others[0].join(0.5)  # it waits for the first; without that it is over before this
        write(*args, **options)

    monkeypatch.setattr(keys, "write_keys", rotate_meanwhile)
    rotation.rotate_keys(config, database)
    others[0].join(20)
    assert stored.list_key_ids(database) == keys.load_keys(config).ids()
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": VALUE}


def test_a_lost_key_that_comes_back_during_a_rotation_is_not_dropped(
    tmp_path: Path, vault: Vault, config: Config, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    Vault(with_keys(tmp_path, 1), lambda: database).put(PLACE, VALUE, created_by="")
    path, list_key_ids = tmp_path / "secret.key", stored.list_key_ids
    keys.make_key_file(config)

    def put_back(found: Database) -> list[str]:
        path.write_text(path.read_text() + KEYS[1] + "\n")
        return list_key_ids(found)

    monkeypatch.setattr(stored, "list_key_ids", put_back)
    assert rotation.rotate_keys(config, database).unreadable == [PLACE]
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": VALUE}


def test_a_value_whose_key_changes_all_the_time_is_not_called_stored(
    vault: Vault, config: Config, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(PLACE, "first", created_by="")
    put = stored.put_secret

    def rotate_before_it_is_stored(*args: Any, **options: Any) -> object:
        rotation.rotate_keys(config, database)
        return put(*args, **options)

    monkeypatch.setattr(stored, "put_secret", rotate_before_it_is_stored)
    with pytest.raises(SecretKeyError, match=r"api_key.*Store it again"):
        vault.put(PLACE, VALUE, created_by="")


def test_a_value_stored_during_a_rotation_is_not_put_back(
    vault: Vault, config: Config, database: Database
) -> None:
    vault.put(PLACE, "old", created_by="")
    ring = keys.load_keys(config)

    def store_meanwhile(value: object) -> object:
        vault.put(PLACE, "new", created_by="")
        return value

    assert stored.reseal(database, "another", store_meanwhile) == 0
    assert vault.open("default", [], ["api_key"]).secrets == {"api_key": "new"}
    assert ring == keys.load_keys(config)


def test_what_cannot_be_opened_stays_as_it_is_and_is_named(
    tmp_path: Path, database: Database
) -> None:
    other = SecretPlace("default", "secret", "other")
    Vault(with_keys(tmp_path, 1), lambda: database).put(PLACE, VALUE, created_by="")
    Vault(with_keys(tmp_path, 2), lambda: database).put(other, "two", created_by="")
    done = rotation.rotate_keys(with_keys(tmp_path, 0, 2), database)
    assert (done.n_resealed, done.unreadable) == (1, [PLACE])
    found = Vault(with_keys(tmp_path, 0, 1), lambda: database)
    assert found.open("default", [], ["api_key", "other"]).secrets == {
        "api_key": VALUE,
        "other": "two",
    }
