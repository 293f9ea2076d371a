"""The keys that seal secrets: where they come from, and who may not have them."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from dag_engine.config import Config, SecretsConfig
from dag_engine.storage import keys
from dag_engine.storage.errors import SecretKeyError
from tests.support.at_once import run_at_once

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


def make_config(home: Path, **secrets: str) -> Config:
    return Config(home=home, secrets=SecretsConfig(**secrets))


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_first_start_makes_a_private_key_and_later_ones_keep_it(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    keys.make_key_file(config)
    first = keys.load_keys(config)
    keys.make_key_file(config)
    assert keys.load_keys(config) == first
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert len(first.current.material) == 32
    assert os.listdir(tmp_path) == ["secret.key"]


def test_two_first_starts_at_once_agree_on_the_key(tmp_path: Path) -> None:
    config = make_config(tmp_path)

    def start(_: int) -> str:
        keys.make_key_file(config)
        return keys.load_keys(config).current.id

    assert len(set(run_at_once(8, start))) == 1


def test_the_first_key_of_the_environment_seals_and_all_of_them_open(tmp_path: Path) -> None:
    ring = keys.load_keys(make_config(tmp_path, key=f"{KEY},{OTHER}"))
    assert ring.current.material == bytes(range(32))
    assert [key.material[0:2] for key in ring.keys] == [b"\x00\x01", b"\x00\x00"]
    assert ring.find(ring.ids()[1]) == ring.keys[1]
    assert not (tmp_path / "secret.key").exists()


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    config = make_config(tmp_path, key=KEY)
    ring = keys.load_keys(config)
    assert KEY not in f"{config!r} {ring!r} {ring.current!r}"
    assert "\\x01\\x02" not in repr(ring)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o620])
def test_a_key_file_that_others_can_use_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "secret.key", KEY, mode)
    with pytest.raises(SecretKeyError, match=rf"mode 0{mode:o}.*chmod 600 {path}"):
        keys.load_keys(make_config(tmp_path))


def test_a_key_file_of_somebody_else_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "secret.key", KEY)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(SecretKeyError, match=rf"belongs to user {owner}.*chown {owner + 1}"):
        keys.load_keys(make_config(tmp_path))


@pytest.mark.parametrize(
    "text", ["", "too short", KEY[:-8], f"{KEY}\nnot-a-key", base64.b64encode(bytes(33)).decode()]
)
def test_what_is_no_key_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    write(tmp_path / "secret.key", text)
    with pytest.raises(SecretKeyError, match="openssl rand -base64 32") as caught:
        keys.load_keys(make_config(tmp_path))
    shown = str(caught.value)
    assert all(len(word) < 4 or word not in shown for word in text.split() if word != "short")


def test_a_named_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    config = make_config(tmp_path, key_file=str(tmp_path / "mounted.key"))
    keys.make_key_file(config)
    assert os.listdir(tmp_path) == []
    with pytest.raises(SecretKeyError, match=r"no key file .*mounted\.key"):
        keys.load_keys(config)


def test_a_folder_or_pipe_is_no_key_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "secret.key", 0o600)
    with pytest.raises(SecretKeyError, match="no plain file"):
        keys.load_keys(make_config(tmp_path))


def test_keys_are_replaced_whole_and_stay_private(tmp_path: Path) -> None:
    path = write(tmp_path / "secret.key", KEY)
    new = keys.make_key()
    keys.write_keys(path, [new, *keys.load_keys(make_config(tmp_path)).keys], may_replace=True)
    ring = keys.load_keys(make_config(tmp_path))
    assert (ring.current, ring.keys[1].text) == (new, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret.key"]
