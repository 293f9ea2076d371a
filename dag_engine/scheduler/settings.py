"""What a scheduler needs to know of its surroundings, taken from the configuration once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dag_engine.scheduler.tokens import AttemptTokens


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Addresses, limits and secrets; durations in seconds."""

    tokens: AttemptTokens
    store_url: str
    store_marker: str
    reports_url: str
    heartbeat_s: float
    engine_lease_s: float
    queue_limits: Mapping[str, int | None]
    connections: Mapping[str, dict[str, Any]]
