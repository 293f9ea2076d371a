"""Who is let in: host names, origins and tokens are looked at before anything else."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from dag_engine.api.errors import BadRequestError, ForbiddenError, UnauthorizedError
from dag_engine.core.access import (
    DEFAULT_NAMESPACE,
    NAMESPACE_HEADER,
    NAMESPACE_RULE,
    Caller,
    Role,
    is_loopback,
    is_namespace,
)
from dag_engine.storage.token_book import TokenBook

_USUAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SECRET_HEADER = "x-dagengine-secret"
_INSTALLATION = Caller("installation", Role.OPERATOR, DEFAULT_NAMESPACE)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCS_POLICY = PAGE_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""The documentation's user interface writes styles into its elements."""
_DATA_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"


def host_name(authority: str) -> str:
    """Take the host out of `host:port`, without brackets and in small letters."""
    if "@" in authority:
        return ""
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
        self._names = _USUAL_NAMES | {bound_host.strip("[]").lower()} | {n.lower() for n in allowed}
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


class Guard:
    """What happens before and after every request.

    Parameters
    ----------
    hosts : HostList
        Under which names the service is addressed.
    tokens : TokenBook
        Who may call.
    secret : callable
        Gives the installation's secret, by which its processes know each other.
    roles : mapping
        The role that each endpoint asks for. What is no endpoint asks for a viewer, so that
        strangers do not learn which addresses there are.
    """

    def __init__(
        self,
        hosts: HostList,
        tokens: TokenBook,
        secret: Callable[[], str],
        roles: Mapping[str, Role],
    ) -> None:
        self._hosts = hosts
        self._tokens = tokens
        self._secret = secret
        self._roles = roles

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
        self._check_caller()

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
        is_foreign = origin is not None and _authority(origin) != request.headers.get("Host")
        if is_foreign or request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise ForbiddenError(
                "foreign_origin", "Requests from pages of other sites are refused here."
            )

    def _check_caller(self) -> None:
        """Find out who calls, and refuse who may not; the handler is not reached."""
        endpoint = request.endpoint
        needed = Role.VIEWER if endpoint is None else self._roles[endpoint]
        if needed is Role.ANYBODY:
            return
        if request.path.startswith("/internal/") and self._has_secret():
            g.caller = _INSTALLATION
            return
        found = self._tokens.find(request.headers.get("Authorization", ""))
        if found is None:
            raise _unauthorized()
        if found.role < needed:
            raise ForbiddenError(
                "role_too_small",
                f"This call asks for the role {needed.word}; the token has {found.role.word}.",
                f"Use a token with the role {needed.word}, made by whoever runs the service.",
            )
        g.caller = _step_over(found)

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


def _authority(origin: str) -> str | None:
    """Take host and port out of an origin; None where it is no URL."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _unauthorized() -> UnauthorizedError:
    if request.authorization is None or request.authorization.type != "bearer":
        return UnauthorizedError(
            "token_missing",
            "This service asks for a token.",
            "Send the header Authorization: Bearer TOKEN; `dagengine tokens add` makes one.",
        )
    return UnauthorizedError(
        "token_unknown",
        "The token is not known, was revoked, or has expired.",
        "`dagengine tokens list` tells which tokens are good; `dagengine tokens add` makes one.",
    )


def _step_over(found: Caller) -> Caller:
    """Let an admin act in the namespace that the request names; others stay in their own."""
    wanted = request.headers.get(NAMESPACE_HEADER, found.namespace)
    if wanted == found.namespace:
        return found
    if not is_namespace(wanted):
        raise BadRequestError(
            "bad_namespace", f"{NAMESPACE_HEADER} was expected to be {NAMESPACE_RULE}."
        )
    if found.role < Role.ADMIN:
        raise ForbiddenError(
            "foreign_namespace",
            f"Only an admin acts in other namespaces; the token is for {found.namespace!r}.",
            f"Leave the header {NAMESPACE_HEADER} away.",
        )
    return replace(found, namespace=wanted)
