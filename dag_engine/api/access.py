"""The caller of the request that is being answered."""

from __future__ import annotations

from typing import cast

from flask import g

from dag_engine.core.access import Caller


def caller() -> Caller:
    """Return who calls, as the guard has found out; what they ask for is theirs in its namespace.

    What goes on after the request (a stream) takes it along from there.
    """
    return cast("Caller", g.caller)
