"""The vault: named connections and secrets by their values, for those who hold the key.

The api and the command line seal, the scheduler opens what an attempt is to get. Connections of the
configuration belong to the namespace `default` and are looked at after those that are stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from dag_engine.config import Config
from dag_engine.storage import keys, sealing
from dag_engine.storage import secrets as stored
from dag_engine.storage.database import Database
from dag_engine.storage.errors import (
    NotFoundError,
    SecretKeyError,
    SecretTooLargeError,
    SecretUnreadableError,
)
from dag_engine.storage.keys import KeyRing
from dag_engine.storage.secret_rows import SealedValue, SecretKind, SecretPlace, SecretRecord

CONFIGURED_NAMESPACE = "default"
VALUE_LIMIT_BYTES = 64 * 1024
_RETRIES = 5


@dataclass(frozen=True, slots=True)
class Opened:
    """Values in plain: connections' settings and secrets, by name."""

    connections: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)


class Vault:
    """Seals and opens by name.

    Parameters
    ----------
    config : Config
        Tells where the keys are, and the configured connections.
    get_database : callable
        Gives the database at the first use.
    """

    def __init__(self, config: Config, get_database: Callable[[], Database]) -> None:
        self._config = config
        self._get_database = get_database

    def configured(self, namespace: str) -> dict[str, dict[str, Any]]:
        """Return the connections that the configuration gives a namespace."""
        return self._config.connections if namespace == CONFIGURED_NAMESPACE else {}

    def names(self, namespace: str, kind: SecretKind) -> Names:
        """Return the names that are known, looked up when they are first asked for."""
        return Names(lambda: self._load_names(namespace, kind))

    def _load_names(self, namespace: str, kind: SecretKind) -> set[str]:
        records = stored.list_secrets(self._get_database(), kind, namespace=namespace)
        configured = self.configured(namespace) if kind == "connection" else {}
        return {record.name for record in records} | configured.keys()

    def put(self, place: SecretPlace, value: Any, *, created_by: str) -> tuple[SecretRecord, bool]:
        """Seal a value and keep it; tells whether its name is new.

        A rotation may take the key away between the sealing and the storing; then it is sealed
        again, with the new one. Raises `SecretTooLargeError`, and `SecretKeyError` where there is
        no key, or where it changes all the time.
        """
        data = msgspec.json.encode(value)
        if len(data) > VALUE_LIMIT_BYTES:
            raise SecretTooLargeError(place.kind, VALUE_LIMIT_BYTES)
        is_new = False
        ring = self.ensure_keys()
        for _ in range(_RETRIES):
            sealed = sealing.seal(ring.current, place, data)
            record, is_first = stored.put_secret(
                self._get_database(), sealed, created_by=created_by
            )
            is_new = is_new or is_first
            now = keys.load_keys(self._config)
            if now.current.id == ring.current.id:
                return record, is_new
            ring = now
        raise SecretKeyError(
            f"The key changed with each of {_RETRIES} tries to store {place.name}, which may be "
            "sealed with one that is gone",
            "Store it again, once nobody changes the key.",
        )

    def open(
        self, namespace: str, connections: Collection[str], secrets: Collection[str]
    ) -> Opened:
        """Open what is named.

        Raises `SecretUnreadableError` and `SecretKeyError`, naming what cannot be had and why, and
        `DatabaseUnavailableError`.
        """
        places = [SecretPlace(namespace, "connection", name) for name in connections]
        places += [SecretPlace(namespace, "secret", name) for name in secrets]
        found = stored.load_sealed(self._get_database(), places)
        ring = keys.load_keys(self._config) if found else None
        opened = Opened()
        for place in places:
            value = self._open_one(place, found.get(place), ring)
            into: dict[str, Any] = (
                opened.connections if place.kind == "connection" else opened.secrets
            )
            into[place.name] = value
        return opened

    def _open_one(
        self, place: SecretPlace, sealed: SealedValue | None, ring: KeyRing | None
    ) -> Any:
        if sealed is not None and ring is not None:
            return msgspec.json.decode(sealing.unseal(ring, sealed))
        configured = self.configured(place.namespace)
        if place.kind == "connection" and place.name in configured:
            return configured[place.name]
        command = "connections" if place.kind == "connection" else "secrets"
        raise SecretUnreadableError(
            place.kind,
            place.name,
            place.namespace,
            f"it is not there any more. Store it: dagengine {command} add {place.name}",
        )

    def ensure_keys(self) -> KeyRing:
        """Read the keys; the first ones are made. Where something is sealed already, a file that is
        missing was lost, and another key would only hide that.
        """
        return self.check_keys()[0]

    def check_keys(self) -> tuple[KeyRing, list[str]]:
        """Read the keys as `ensure_keys`, and list those that something stored needs and that are
        not at hand. Raises `SecretKeyError` where no key can be had at all.
        """
        needed = stored.list_key_ids(self._get_database())
        if not needed:
            keys.make_key_file(self._config)
        ring = keys.load_keys(self._config)
        return ring, [key_id for key_id in needed if key_id not in ring.ids()]

    def delete(self, place: SecretPlace) -> None:
        """Forget a value; raises `NotFoundError`."""
        stored.delete_secret(self._get_database(), place)

    def list_all(self, namespace: str, kind: SecretKind) -> list[Listed]:
        """List what may be told, by name; the configured connections too."""
        records = stored.list_secrets(self._get_database(), kind, namespace=namespace)
        listed = {record.name: Listed(record.name, "stored", record) for record in records}
        if kind == "connection":
            for name in self.configured(namespace):
                listed.setdefault(name, Listed(name, "configuration"))
        return [listed[name] for name in sorted(listed)]

    def find(self, place: SecretPlace) -> Listed:
        """Tell of one, or raise `NotFoundError`."""
        try:
            record = stored.get_secret(self._get_database(), place)
        except NotFoundError:
            if place.kind == "connection" and place.name in self.configured(place.namespace):
                return Listed(place.name, "configuration")
            raise
        return Listed(place.name, "stored", record)

    def find_version(self, namespace: str, kind: str, name: str, secret: str) -> str:
        """Tell one version of what a name stands for from others; empty where there is none.

        What the configuration says is told by a digest with the installation's secret, from which
        nobody guesses a password.
        """
        place = SecretPlace(namespace, "secret" if kind == "secret" else "connection", name)
        try:
            listed = self.find(place)
        except NotFoundError:
            return ""
        if listed.record is not None:
            return listed.record.updated_at.isoformat()
        settings = msgspec.json.encode(self.configured(namespace)[name], order="deterministic")
        return hmac.new(secret.encode(), settings, "sha256").hexdigest() if secret else ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A name, where it stands, and what is told of it where it is stored."""

    name: str
    source: Literal["stored", "configuration"]
    record: SecretRecord | None = None


class Names(Collection[str]):
    """Names that are looked up at the first question: most definitions name nothing."""

    def __init__(self, load: Callable[[], set[str]]) -> None:
        self._load = load
        self._found: set[str] | None = None

    def _names(self) -> set[str]:
        if self._found is None:
            self._found = self._load()
        return self._found

    def __contains__(self, name: object) -> bool:
        return name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())
