"""Who may do what: the roles of callers, and the namespaces that keep their things apart."""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass

DEFAULT_NAMESPACE = "default"
SYSTEM_NAMESPACE = "system"
"""Holds the service's own runs; no caller acts in it."""
NAMESPACE_RULE = (
    "1 to 63 small letters, digits, '-' or '_', the first a letter or digit, and not "
    f"{SYSTEM_NAMESPACE!r}"
)
NAMESPACE_HEADER = "X-Dagengine-Namespace"
"""Of a request by which an admin acts in another namespace."""
_MARK_LENGTH = 128
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Role(enum.IntEnum):
    """What a caller may do; each role may do what those below it may."""

    ANYBODY = 0
    VIEWER = 1
    SUBMITTER = 2
    OPERATOR = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """The role's name as people write it."""
        return self.name.lower()


TOKEN_ROLES = {role.word: role for role in Role if role is not Role.ANYBODY}
"""The roles that a token may have, by their words."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, with which role, and in which namespace; `token_id` is empty without a token."""

    name: str
    role: Role
    namespace: str
    token_id: str = ""

    @property
    def mark(self) -> str:
        """What stands with a thing as its maker: the token's name, else its id."""
        return (self.name or self.token_id)[:_MARK_LENGTH]


LOCAL_ADMIN = Caller("", Role.ADMIN, DEFAULT_NAMESPACE)
"""Who calls where no token was ever made: a person at this machine."""


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_namespace(name: str) -> bool:
    """Tell whether callers may have a namespace of this name."""
    return name != SYSTEM_NAMESPACE and _NAMESPACE.fullmatch(name) is not None
