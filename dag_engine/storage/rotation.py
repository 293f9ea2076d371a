"""Changes the key: everything stored is sealed with a new one while services go on."""

from __future__ import annotations

from dataclasses import dataclass, field

from dag_engine.config import Config
from dag_engine.storage import keys, sealing
from dag_engine.storage import secrets as stored
from dag_engine.storage.database import Database
from dag_engine.storage.errors import SecretUnreadableError
from dag_engine.storage.keys import KeyRing
from dag_engine.storage.secret_rows import SealedValue, SecretPlace


@dataclass(slots=True)
class Rotation:
    """What became of it: the key that seals now, how many values it seals anew, what could not be
    opened, and which old keys are still needed.
    """

    key_id: str
    n_resealed: int = 0
    unreadable: list[SecretPlace] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def rotate_keys(config: Config, database: Database) -> Rotation:
    """Seal everything with a new key, or with the first of the environment's.

    Whatever happens in between, the key file holds every key that something is sealed with: of two
    rotations at once the second waits, or each would drop the key of the other from the file. A
    service that sealed with the old key meanwhile looks again once it has stored, and seals anew.
    """
    keys.make_key_file(config)
    ring = keys.load_keys(config)
    if keys.is_from_environment(config):
        done = Rotation(ring.current.id)
        _reseal(database, ring, done)
        return done
    with keys.lock_key_file(config):
        return _change_file(config, database)


def _change_file(config: Config, database: Database) -> Rotation:
    path = keys.key_file(config)
    found = keys.load_keys(config)
    ring = KeyRing((keys.make_key(), *found.keys), found.source)
    keys.write_keys(path, list(ring.keys), may_replace=True)
    done = Rotation(ring.current.id)
    _reseal(database, ring, done)
    needed = set(stored.list_key_ids(database))
    # Read anew: who put a lost key back by hand meanwhile is not to lose it again.
    rest = [key for key in keys.load_keys(config).keys if key.id in needed - {ring.current.id}]
    keys.write_keys(path, [ring.current, *rest], may_replace=True)
    _reseal(database, ring, done)
    done.kept = [key.id for key in rest]
    return done


def _reseal(database: Database, ring: KeyRing, done: Rotation) -> None:
    def change(old: SealedValue) -> SealedValue | None:
        try:
            value = sealing.unseal(ring, old)
        except SecretUnreadableError:
            if old.place not in done.unreadable:
                done.unreadable.append(old.place)
            return None
        return sealing.seal(ring.current, old.place, value)

    done.n_resealed += stored.reseal(database, ring.current.id, change)
