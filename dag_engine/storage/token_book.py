"""Finds the caller behind a bearer token, from what was read of the tokens a moment ago."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dag_engine.core.access import LOCAL_ADMIN, TOKEN_ROLES, Caller, Role, is_namespace
from dag_engine.storage.database import DEADLINE_S
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.moments import UTC
from dag_engine.storage.rows import TokenRecord

log = logging.getLogger(__name__)

KEPT_S = 2.0
"""How long what was read holds: so soon a revoked token is refused."""
FIRST_DEADLINE_S = DEADLINE_S
AGAIN_DEADLINE_S = 0.5
"""How long reading may take; short where older knowledge will do, for the request goes on then."""


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: str
    caller: Caller
    expires_at: dt.datetime


_NEVER = dt.datetime.max.replace(tzinfo=UTC)
_NOBODY = _Entry("-" * 64, Caller("", Role.ANYBODY, ""), dt.datetime.min.replace(tzinfo=UTC))


class TokenBook:
    """The tokens that are not revoked, by digest; asking it costs no query.

    Parameters
    ----------
    load : callable
        Reads the tokens that are not revoked, by the SHA-256 of each, within so many seconds.
    is_required : bool
        Whether a token is asked for even where there is none at all.
    """

    def __init__(
        self, load: Callable[[float], Mapping[str, TokenRecord]], *, is_required: bool
    ) -> None:
        self._load = load
        self._is_required = is_required
        self._lock = threading.Lock()
        self._by_digest: dict[str, _Entry] = {}
        self._by_id: dict[str, _Entry] = {}
        self._loaded_at = -math.inf

    def find(self, authorization: str) -> Caller | None:
        """Return who sends this header, or None: without a token, or with one that is not good.

        The work is the same whatever is wrong with the token, so its time tells nothing.
        """
        by_digest = self._read()
        if self._is_open(by_digest):
            return LOCAL_ADMIN
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
        # what a stranger can vary is the token; its digest leads nowhere near that of another
        entry = by_digest.get(digest, _NOBODY)
        is_known = hmac.compare_digest(digest, entry.digest)
        is_fresh = dt.datetime.now(UTC) < entry.expires_at
        is_bearer = scheme.lower() == "bearer"
        return entry.caller if is_known & is_fresh & is_bearer else None

    def is_good(self, caller: Caller) -> bool:
        """Tell whether a caller who was let in would be let in still."""
        by_digest = self._read()
        if not caller.token_id:
            return self._is_open(by_digest)
        entry = self._by_id.get(caller.token_id, _NOBODY)
        return dt.datetime.now(UTC) < entry.expires_at

    def _is_open(self, by_digest: Mapping[str, _Entry]) -> bool:
        """Tell whether no token is asked for; one that expired counts: time must open nothing."""
        return not by_digest and not self._is_required

    def _read(self) -> dict[str, _Entry]:
        now = time.monotonic()
        with self._lock:
            is_first = self._loaded_at < 0
            if now - self._loaded_at < KEPT_S:
                return self._by_digest
            if not is_first:
                # one reads, the others go on; while the database is away nobody new is let in
                self._loaded_at = now
        try:
            loaded = self._load(FIRST_DEADLINE_S if is_first else AGAIN_DEADLINE_S)
        except DatabaseUnavailableError:
            if is_first:
                raise
            return self._by_digest
        entries = {digest: _make_entry(digest, record) for digest, record in loaded.items()}
        with self._lock:
            self._by_digest = entries
            self._by_id = {entry.caller.token_id: entry for entry in entries.values()}
            self._loaded_at = now
        return entries


def _make_entry(digest: str, record: TokenRecord) -> _Entry:
    role = TOKEN_ROLES.get(record.role)
    if role is None or not is_namespace(record.namespace):
        # a newer program may have made it; it lets nobody in, and yet counts as a token
        log.warning("token_not_understood token_id=%s", record.id)
        return _Entry(digest, Caller("", Role.ANYBODY, "", record.id), _NOBODY.expires_at)
    caller = Caller(record.name, role, record.namespace, record.id)
    return _Entry(digest, caller, record.expires_at or _NEVER)
