"""The `Idempotency-Key` of a request: the same request with the same key starts one thing."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
from flask import request

from dag_engine.api.errors import BadRequestError
from dag_engine.storage.rows import IdempotencyKey

HEADER = {"Idempotency-Key": "The same request with the same key is carried out once."}
_KEY = re.compile(r"[\x21-\x7e]{1,150}")


def read_key(operation: str, *parts: Any, body: bytes = b"") -> IdempotencyKey | None:
    """Read the key of this request; the parts and the body are what it asks for."""
    came = request.headers.get("Idempotency-Key")
    if came is None:
        return None
    if not _KEY.fullmatch(came):
        raise BadRequestError(
            "bad_idempotency_key",
            "An Idempotency-Key is 1 to 150 visible ASCII characters.",
            "A random UUID does well.",
        )
    return make_key(came, operation, *parts, body=body)


def make_key(key: str, operation: str, *parts: Any, body: bytes = b"") -> IdempotencyKey:
    """Make a key with the digest of all that is asked."""
    digest = hashlib.sha256(msgspec.json.encode([operation, *parts], order="deterministic"))
    digest.update(b"\0" + body)
    return IdempotencyKey(key, operation, digest.hexdigest())
