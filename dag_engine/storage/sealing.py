"""Seals values for the database: AES-256-GCM, bound to the place of the row that holds them."""

from __future__ import annotations

import os

from dag_engine.storage.errors import SecretUnreadableError
from dag_engine.storage.keys import Key, KeyRing
from dag_engine.storage.secret_rows import SealedValue, SecretPlace

_VERSION = b"\x01"
_NONCE_BYTES = 12


def seal(key: Key, place: SecretPlace, value: bytes) -> SealedValue:
    """Seal a value for one place; it opens nowhere else, so that rows cannot be exchanged."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key.material).encrypt(nonce, value, _describe(place, key.id))
    return SealedValue(place=place, key_id=key.id, sealed=_VERSION + nonce + sealed)


def unseal(keys: KeyRing, sealed: SealedValue) -> bytes:
    """Open a value. Raises `SecretUnreadableError` naming the key that is missing, or that the row
    is not what was written.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    place = sealed.place
    key = keys.find(sealed.key_id)
    if key is None:
        raise SecretUnreadableError(
            place.kind,
            place.name,
            place.namespace,
            f"it is sealed with key {sealed.key_id}, and {keys.source} holds "
            f"{', '.join(keys.ids())}. Put that key back beside the others, or store it anew",
        )
    blob = sealed.sealed
    nonce, rest = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
    if blob[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
        nonce = bytes(_NONCE_BYTES)  # it opens nothing: told like any other damage
    try:
        return AESGCM(key.material).decrypt(nonce, rest, _describe(place, key.id))
    except InvalidTag as error:
        raise SecretUnreadableError(
            place.kind,
            place.name,
            place.namespace,
            f"its row is damaged, or was written for another name (key {key.id}). Store it anew",
        ) from error


def _describe(place: SecretPlace, key_id: str) -> bytes:
    """Write down what a sealed value is bound to; none of the words may hold a NUL."""
    return "\0".join(("dagengine", place.namespace, place.kind, place.name, key_id)).encode()
