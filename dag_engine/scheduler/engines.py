"""The operator engines as the scheduler knows them: leases, senders, and what is out at each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from dag_engine.core.changes import StoredEngine
from dag_engine.core.placement import Engine, Placement
from dag_engine.scheduler.sender import EngineSender
from executors.base import DispatchItem, HeartbeatReply, Registration

log = logging.getLogger(__name__)

STOPPED_AFTER_S = 2.0
"""The check comes about once a second; so much later, this process itself was stopped."""


@dataclass(slots=True)
class LiveEngine:
    """One operator engine: its last registration, its sender, and when it was last heard
    (monotonic).

    `is_adopted` says that it has not registered with this leader yet. Its next sign of life is
    answered so that it does: then it learns what is no longer wanted, and this leader what is held.
    """

    registration: Registration
    engine: Engine
    sender: EngineSender
    last_seen: float
    out: set[str] = field(default_factory=set)
    letters: list[DispatchItem] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    is_adopted: bool = False


class Engines:
    """All operator engines that may still hold attempts.

    The loop's thread changes it; HTTP threads only note heartbeats, so that a database that is
    away does not make engines look dead.
    """

    def __init__(
        self,
        placement: Placement,
        epoch: int,
        lease_s: float,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self._placement = placement
        self._epoch = epoch
        self._lease_s = lease_s
        self._on_refused = on_refused
        self._live: dict[str, LiveEngine] = {}
        self._last_check = time.monotonic()

    def find(self, engine_id: str | None) -> LiveEngine | None:
        """Return an engine that is alive, or None."""
        live = self._live.get(engine_id or "")
        return live if live is not None and live.engine.is_alive else None

    def snapshot(self) -> list[LiveEngine]:
        """Return all engines, also those away; for status."""
        return list(self._live.values())

    def adopt(self, stored: StoredEngine) -> None:
        """Take up an engine that an earlier scheduler knew; its lease begins anew."""
        registration = msgspec.json.decode(stored.registration, type=Registration)
        self.admit(registration).is_adopted = True
        if not stored.is_alive:
            self.dismiss(registration.engine_id)

    def admit(self, registration: Registration) -> LiveEngine:
        """Take an engine in, or in again under a new incarnation; it keeps what is out at it."""
        engine_id = registration.engine_id
        old = self._live.get(engine_id)
        engine = old.engine if old is not None else Engine(engine_id)
        engine.labels = dict(registration.labels)
        engine.slots = {offer.name: offer.slots for offer in registration.executors}
        engine.is_alive = True
        live = LiveEngine(
            registration=registration,
            engine=engine,
            sender=self._choose_sender(old, registration),
            last_seen=time.monotonic(),
            out=old.out if old is not None else set(),
        )
        self._live[engine_id] = live
        self._placement.engines[engine_id] = engine
        return live

    def _choose_sender(self, old: LiveEngine | None, registration: Registration) -> EngineSender:
        """Keep the sender for the same life at the same address, with all it has yet to send."""
        url, incarnation = registration.url, registration.incarnation
        if old is not None:
            former = old.registration
            if not old.sender.is_closed and (former.url, former.incarnation) == (url, incarnation):
                return old.sender
            old.sender.close()
        return EngineSender(registration.engine_id, url, incarnation, self._epoch, self._on_refused)

    def dismiss(self, engine_id: str) -> set[str]:
        """Count an engine as away and return the attempts that were out at it."""
        live = self._live[engine_id]
        live.engine.is_alive = False
        live.sender.close()
        out, live.out = live.out, set()
        return out

    def remove(self, engine_id: str) -> None:
        """Forget an engine for good; what was out at it has been given up before."""
        if engine_id in self._live:
            self._live.pop(engine_id).sender.close()
            self._placement.engines.pop(engine_id, None)

    def find_heard(self, within_s: float) -> list[str]:
        """Return the engines that gave a sign of life within the last seconds."""
        since = time.monotonic() - within_s
        return [e for e, live in self._live.items() if live.last_seen >= since]

    def beat(self, engine_id: str, incarnation: str) -> HeartbeatReply:
        """Note a sign of life; any thread may."""
        live = self.find(engine_id)
        if live is None or live.registration.incarnation != incarnation:
            return HeartbeatReply(is_known=False)
        live.last_seen = time.monotonic()
        return HeartbeatReply(is_known=not live.is_adopted, epoch=self._epoch)

    def find_expired(self) -> list[str]:
        """Return the engines whose lease has run out.

        Where this process itself was stopped for a while, everybody's lease is made longer by that
        while: their heartbeats lie unread in the sockets.
        """
        now = time.monotonic()
        gap = now - self._last_check
        self._last_check = now
        if gap > max(self._lease_s / 3, STOPPED_AFTER_S):
            log.warning("scheduler_was_stopped seconds=%.1f", gap)
            for live in self._live.values():
                live.last_seen = min(now, live.last_seen + gap)
        return [
            engine_id
            for engine_id, live in self._live.items()
            if live.engine.is_alive and now - live.last_seen > self._lease_s
        ]

    def flush(self) -> None:
        """Send what was decided; called after the commit."""
        for live in self._live.values():
            if live.letters or live.kills:
                live.sender.send(live.letters, live.kills)
                live.letters, live.kills = [], []

    def close(self) -> None:
        """Stop every sender."""
        for live in self._live.values():
            live.sender.close()
