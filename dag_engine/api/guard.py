"""Who is let in: host names, origins and tokens are looked at before anything else."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import math
import re
import secrets
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from dag_engine.api.errors import ForbiddenError, UnauthorizedError
from dag_engine.storage.errors import DatabaseUnavailableError

log = logging.getLogger(__name__)

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/version"})
_OPEN_ENDPOINTS = ("pages.", "documentation.")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKENS_KEPT_S = 2.0
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SECRET_HEADER = "x-dagengine-secret"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""The documentation's user interface writes styles into its elements."""
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_name(authority: str) -> str:
    """Take the host out of `host:port`, without brackets and in small letters."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


class HostList:
    """The names under which this service may be addressed.

    A page of a foreign site whose name points to our address (DNS rebinding) sends its own name as
    Host. An IP address cannot be rebound, so any is let in where the service listens beyond this
    machine.
    """

    def __init__(self, bound_host: str, allowed: tuple[str, ...]) -> None:
        self._names = _LOOPBACK | {bound_host.strip("[]").lower()} | {n.lower() for n in allowed}
        self._is_wide = not is_loopback(bound_host)

    def has(self, authority: str) -> bool:
        """Tell whether a Host header is one of ours."""
        name = host_name(authority)
        return bool(name) and (
            name in self._names or "*" in self._names or (self._is_wide and _is_address(name))
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class TokenCheck:
    """Compares bearer tokens with the digests in the database, which are kept for two seconds."""

    def __init__(self, load_digests: Callable[[], frozenset[str]], *, is_required: bool) -> None:
        self._load_digests = load_digests
        self._is_required = is_required
        self._lock = threading.Lock()
        self._digests: frozenset[str] = frozenset()
        self._loaded_at = -math.inf

    def check(self, authorization: str) -> None:
        """Raise `UnauthorizedError` unless the header holds a known token, or none is needed."""
        digests = self._current()
        if not digests and not self._is_required:
            return
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise UnauthorizedError(
                "token_missing",
                "This service asks for a token.",
                "Send the header Authorization: Bearer TOKEN; `dagengine tokens add` makes one.",
            )
        digest = hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
        # every digest is compared, so that the time tells nothing
        matches = [hmac.compare_digest(digest, known) for known in digests]
        if not any(matches):
            raise UnauthorizedError("token_unknown", "The token is not known, or was revoked.")

    def _current(self) -> frozenset[str]:
        now = time.monotonic()
        with self._lock:
            if now - self._loaded_at < _TOKENS_KEPT_S:
                return self._digests
        try:
            digests = self._load_digests()
        except DatabaseUnavailableError:
            # what was known last holds while the database is away: it lets nobody new in
            if self._loaded_at < 0:
                raise
            return self._digests
        with self._lock:
            self._digests, self._loaded_at = digests, now
        return digests


class Guard:
    """What happens before and after every request."""

    def __init__(self, hosts: HostList, tokens: TokenCheck, secret: Callable[[], str]) -> None:
        self._hosts = hosts
        self._tokens = tokens
        self._secret = secret

    def install(self, app: Flask) -> None:
        """Register with an application."""
        app.before_request(self._before)
        app.after_request(self._after)

    def _before(self) -> None:
        came = request.headers.get("X-Request-Id", "")
        g.request_id = came if _REQUEST_ID.fullmatch(came) else secrets.token_hex(8)
        g.began_at = time.perf_counter()
        self._check_host()
        self._check_origin()
        self._check_token()

    def _check_host(self) -> None:
        if not self._hosts.has(request.headers.get("Host", "")):
            raise ForbiddenError(
                "foreign_host",
                "The Host header names no host that this service answers for.",
                "Use its address, or add the name to server.allowed_hosts.",
            )

    def _check_origin(self) -> None:
        """Refuse what a page of another site sends."""
        if request.method not in _UNSAFE:
            return
        origin = request.headers.get("Origin")
        is_foreign = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
        if is_foreign or request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise ForbiddenError(
                "foreign_origin", "Requests from pages of other sites are refused here."
            )

    def _check_token(self) -> None:
        endpoint = request.endpoint or ""
        if request.path in _OPEN_PATHS or endpoint.startswith(_OPEN_ENDPOINTS):
            return
        if request.path.startswith("/internal/") and self._has_secret():
            return
        self._tokens.check(request.headers.get("Authorization", ""))

    def _has_secret(self) -> bool:
        """Tell whether a process of this installation calls, by header or as bearer."""
        secret = self._secret().encode()
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        came = [request.headers.get(SECRET_HEADER, "")]
        if scheme.lower() == "bearer":
            came.append(bearer.strip())
        return bool(secret) and any(
            hmac.compare_digest(word.encode("utf-8", "replace"), secret) for word in came
        )

    def _after(self, response: Response) -> Response:
        headers = response.headers
        headers["X-Request-Id"] = g.get("request_id", "")
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("Content-Security-Policy", _DATA_POLICY)
        headers.setdefault("Cache-Control", "no-store")
        return response
