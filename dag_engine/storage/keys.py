"""The keys that seal stored secrets: from the environment, or from a file that is nobody else's."""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dag_engine.config import Config
from dag_engine.storage.errors import SecretKeyError
from executors.private_files import write_private_bytes

KEY_FILE = "secret.key"
KEY_BYTES = 32
_FILE_LIMIT_BYTES = 64 * 1024
_NEW_KEY = "A key is 32 random bytes in base64: openssl rand -base64 32"


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the short id that rows name it by; the id tells nothing about the key."""

    material: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """Name the key: 12 hexadecimal digits."""
        return hmac.digest(self.material, b"dagengine key id", hashlib.sha256).hex()[:12]

    @property
    def text(self) -> str:
        """Write the key as a line of a key file."""
        return base64.b64encode(self.material).decode("ascii")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """All keys at hand: the first seals, every one opens. `source` says where they came from."""

    keys: tuple[Key, ...]
    source: str

    @property
    def current(self) -> Key:
        """Return the key that seals."""
        return self.keys[0]

    def find(self, key_id: str) -> Key | None:
        """Return the key of an id, if it is at hand."""
        return next((key for key in self.keys if key.id == key_id), None)

    def ids(self) -> list[str]:
        """List the ids of the keys."""
        return [key.id for key in self.keys]


def make_key() -> Key:
    """Draw a new key."""
    return Key(secrets.token_bytes(KEY_BYTES))


def key_file(config: Config) -> Path:
    """Tell where the key file lies, or would lie."""
    if config.secrets.key_file:
        return Path(config.secrets.key_file).expanduser().absolute()
    return config.home / KEY_FILE


def is_from_environment(config: Config) -> bool:
    """Tell whether the keys come from the environment; then no file is looked at."""
    return bool(config.secrets.key)


def load_keys(config: Config) -> KeyRing:
    """Read the keys, anew each time: a rotation changes the file while services run.

    Raises `SecretKeyError` where there is none, or where others could read it.
    """
    if is_from_environment(config):
        words = config.secrets.key.replace(",", " ").split()
        return _parse(words, "the environment (DAGENGINE__SECRETS__KEY)")
    path = key_file(config)
    return _parse(_read_private(path).split(), str(path))


def make_key_file(config: Config) -> None:
    """Make the key file of this installation where keys are to come from it and it is not there;
    one that the configuration names is expected to be there.
    """
    path = key_file(config)
    if is_from_environment(config) or config.secrets.key_file or path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_keys(path, [make_key()], may_replace=False)


@contextmanager
def lock_key_file(config: Config) -> Iterator[None]:
    """Let nobody else change the key file within the block; waits for whoever does, and ends with
    the process, however that ends.
    """
    path = key_file(config)
    descriptor = os.open(
        path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_keys(path: Path, keys: list[Key], *, may_replace: bool) -> None:
    """Write a key file, whole or not at all; mode 0600 from the first byte on."""
    data = "".join(f"{key.text}\n" for key in keys).encode("ascii")
    write_private_bytes(path, data, may_replace=may_replace, is_lasting=True)


def _read_private(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SecretKeyError(
            f"There is no key file {path}",
            "Put it back from a backup. Where it is lost, `dagengine secrets rotate` makes a new "
            "one, and what was sealed with the lost one must be stored anew.",
        ) from error
    except OSError as error:
        raise SecretKeyError(
            f"The key file {path} cannot be read: {error.strerror}",
            "Let it belong to the user that the services run as.",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        _check_private(path, os.fstat(file.fileno()))
        return file.read(_FILE_LIMIT_BYTES).decode("ascii", "replace")


def _check_private(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretKeyError(f"The key file {path} is no plain file", "Name another.")
    if found.st_uid != os.geteuid():
        raise SecretKeyError(
            f"The key file {path} belongs to user {found.st_uid}, not to user {os.geteuid()} "
            "that this runs as",
            f"Run: chown {os.geteuid()} {path}",
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SecretKeyError(
            f"Others than its owner can use the key file {path} "
            f"(mode {stat.S_IMODE(found.st_mode):04o}; 0600 was expected)",
            f"Run: chmod 600 {path}; and where others may have read it: dagengine secrets rotate",
        )


def _parse(words: list[str], source: str) -> KeyRing:
    keys = tuple(_parse_key(word, number, source) for number, word in enumerate(words, start=1))
    if not keys:
        raise SecretKeyError(f"There is no key in {source}", _NEW_KEY)
    return KeyRing(keys, source)


def _parse_key(word: str, number: int, source: str) -> Key:
    # Neither the word nor a part of it may stand in the message.
    try:
        material = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        material = b""
    if len(material) != KEY_BYTES:
        raise SecretKeyError(f"Key {number} in {source} is no key", _NEW_KEY)
    return Key(material)
