"""What an operator engine tells of itself with every heartbeat, for health and metrics."""

from __future__ import annotations

import msgspec


class Disk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Room on the file system of a folder."""

    free_bytes: int
    total_bytes: int


class EngineFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How an operator engine is, for health and metrics.

    `n_unacknowledged` ends are known here and not yet stored by the dag engine, the oldest for
    `oldest_unacknowledged_s`. `restarts` counts the processes that died, by name; `away` names its
    own processes that are not connected.
    """

    n_unacknowledged: int = 0
    oldest_unacknowledged_s: float = 0.0
    disks: dict[str, Disk] = {}
    restarts: dict[str, int] = {}
    away: list[str] = []
