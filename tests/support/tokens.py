"""Tokens as the database would give them."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Any

from dag_engine.storage.rows import TokenRecord


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def make_tokens(*tokens: str, **changes: Any) -> dict[str, TokenRecord]:
    """Make good tokens, by their digests."""
    fields: dict[str, Any] = {
        "namespace": "default",
        "role": "admin",
        "created_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC),
        "expires_at": None,
        "revoked_at": None,
    }
    return {
        digest(token): TokenRecord(**{"id": f"id of {token}", "name": token, **fields, **changes})
        for token in tokens
    }
