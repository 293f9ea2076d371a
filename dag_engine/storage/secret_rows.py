"""What the storage keeps of secrets and connections: their places, sealed values, and records that
tell everything but the value.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal

SecretKind = Literal["connection", "secret"]


@dataclass(frozen=True, slots=True, order=True)
class SecretPlace:
    """Where a secret is kept: its namespace, what it is, and its name."""

    namespace: str
    kind: SecretKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedValue:
    """A sealed value with its place and the id of the key that opens it."""

    place: SecretPlace
    key_id: str
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRecord:
    """What may be told of a secret or connection."""

    namespace: str
    kind: SecretKind
    name: str
    key_id: str
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
