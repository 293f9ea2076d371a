"""Seals what is on its way to one operator engine, so that only that engine can open it.

This is HPKE (RFC 9180) in its base mode: X25519, HKDF-SHA256, AES-256-GCM. The engine announces its
public key when it registers; the private one never leaves its host, and no worker is given it.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec

from executors.base import Task
from executors.errors import SealError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.hpke import Suite


class _Secrets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is sealed of a task."""

    connections: dict[str, dict[str, object]] = {}
    secrets: dict[str, str] = {}


def make_private_key() -> str:
    """Draw a private key; base64."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return _encode(X25519PrivateKey.generate().private_bytes_raw())


def public_key_of(private_key: str) -> str:
    """Return the public key that belongs to a private one; base64.

    Raises `SealError` where that is no key.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        private = X25519PrivateKey.from_private_bytes(_decode(private_key))
    except ValueError as error:
        raise SealError("The operator engine's sealing key is damaged.") from error
    return _encode(private.public_key().public_bytes_raw())


def needs_sealing(task: Task) -> bool:
    """Tell whether a task carries what must not be seen on the way."""
    return bool(task.connections or task.secrets)


def seal_task(task: Task, public_key: str) -> Task:
    """Return the task with its connections and secrets sealed for the owner of a key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    data = msgspec.json.encode(_Secrets(connections=task.connections, secrets=task.secrets))
    try:
        public = X25519PublicKey.from_public_bytes(_decode(public_key))
    except ValueError as error:
        raise SealError("The operator engine has announced no sound sealing key.") from error
    sealed = _suite().encrypt(data, public, info=_bind(task))
    return msgspec.structs.replace(task, connections={}, secrets={}, sealed=_encode(sealed))


def open_task(task: Task, private_key: str) -> Task:
    """Return the task with its connections and secrets in plain; one without a seal as it is.

    Raises `SealError` where it was sealed for another engine or another attempt.
    """
    if not task.sealed:
        return task
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    try:
        private = X25519PrivateKey.from_private_bytes(_decode(private_key))
        data = _suite().decrypt(_decode(task.sealed), private, info=_bind(task))
    except (InvalidTag, ValueError) as error:
        raise SealError(
            "Its secrets cannot be opened here: they were sealed for another key of the operator "
            "engine, or for another attempt."
        ) from error
    found = msgspec.json.decode(data, type=_Secrets)
    return msgspec.structs.replace(
        task, connections=found.connections, secrets=found.secrets, sealed=""
    )


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _bind(task: Task) -> bytes:
    return f"dagengine task {task.attempt_id}".encode()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
