"""What a scheduler needs to know of its surroundings, taken from the configuration once."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dag_engine.scheduler.clock import Clock
from dag_engine.scheduler.courier import OpenSecrets, open_nothing
from dag_engine.scheduler.figures import Figures
from dag_engine.scheduler.library import OpenLibrary
from dag_engine.scheduler.sender import EngineSender, Sender
from dag_engine.scheduler.tokens import AttemptTokens


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Addresses, limits and secrets; durations in seconds.

    `open_secrets` gives the values of the connections and secrets that a task names.
    `figures` counts what is done. `open_library` opens the place where former results are looked
    up; without it everything is computed. `clock`, `draw` (a random number in [0, 1)),
    `open_sender` and `open_library` are the ways to the world outside; whoever wants to play the
    world brings others.
    """

    tokens: AttemptTokens
    store_url: str
    store_marker: str
    reports_url: str
    heartbeat_s: float
    engine_lease_s: float
    queue_limits: Mapping[str, int | None]
    open_secrets: OpenSecrets = open_nothing
    clock: Clock = field(default_factory=Clock)
    draw: Callable[[], float] = random.random
    figures: Figures = field(default_factory=Figures)
    open_library: OpenLibrary | None = None
    open_sender: Callable[[str, str, str, int, Callable[[str, str], None]], Sender] = EngineSender
