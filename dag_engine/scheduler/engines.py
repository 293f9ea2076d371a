"""The operator engines as the scheduler knows them: leases, senders, and what is out at each."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from dag_engine.core.changes import StoredEngine
from dag_engine.core.placement import Engine, Placement
from dag_engine.scheduler.courier import Courier
from dag_engine.scheduler.sender import Sender
from dag_engine.scheduler.settings import Surroundings
from executors.base import DispatchItem, Heartbeat, HeartbeatReply, Registration
from executors.facts import EngineFacts
from executors.sealing import needs_sealing
from executors.transport.errors import ConnectionFailedError

log = logging.getLogger(__name__)

LIVES_REMEMBERED = 10_000
"""Of so many lives of engines it is known up to which registration they came."""

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
    sender: Sender
    last_seen: float
    out: set[str] = field(default_factory=set)
    letters: list[DispatchItem] = field(default_factory=list)
    kills: list[str] = field(default_factory=list)
    is_adopted: bool = False
    facts: EngineFacts = field(default_factory=EngineFacts)

    def make_row(self) -> StoredEngine:
        """Tell what is stored of it."""
        return StoredEngine(
            engine_id=self.engine.engine_id,
            incarnation=self.registration.incarnation,
            registration=msgspec.json.encode(self.registration),
            is_alive=self.engine.is_alive,
        )


class Engines:
    """All operator engines that may still hold attempts.

    The loop's thread changes it; HTTP threads only note heartbeats, so that a database that is
    away does not make engines look dead.
    """

    def __init__(
        self,
        placement: Placement,
        epoch: int,
        surroundings: Surroundings,
        on_refused: Callable[[str, str], None],
    ) -> None:
        self._placement = placement
        self._epoch = epoch
        self._lease_s = surroundings.engine_lease_s
        self._clock = surroundings.clock
        self._open_sender = surroundings.open_sender
        self._on_refused = on_refused
        self._courier = Courier(surroundings.open_secrets, on_refused)
        self._live: dict[str, LiveEngine] = {}
        self._numbers: dict[tuple[str, str], int] = {}
        self._last_check = self._clock.monotonic()

    def find(self, engine_id: str | None) -> LiveEngine | None:
        """Return an engine that is alive, or None."""
        live = self._live.get(engine_id or "")
        return live if live is not None and live.engine.is_alive else None

    def adopt(self, stored: StoredEngine) -> None:
        """Take up an engine that an earlier scheduler knew; its lease begins anew."""
        try:
            registration = msgspec.json.decode(stored.registration, type=Registration)
            self.admit(registration).is_adopted = True
        except (msgspec.MsgspecError, ConnectionFailedError, ValueError) as error:
            # It counts as away until it registers: without it there is a leader, else none ever.
            log.error("engine_not_adopted engine_id=%s detail=%s", stored.engine_id, error)  # noqa: TRY400 - the detail says it all
            return
        if not stored.is_alive:
            self.dismiss(registration.engine_id)

    def greet(self, reports_url: str) -> None:
        """Tell those that were adopted who leads now: they may wait for one that never answers."""
        for live in self._live.values():
            if live.is_adopted and live.engine.is_alive:
                live.sender.greet(reports_url)

    def is_outdated(self, registration: Registration) -> bool:
        """Tell whether the same life of an engine has registered since, or with this very message:
        what it says that it holds is no longer true.

        Of two lives nobody can tell which is the later one; the living one registers again at its
        next heartbeat.
        """
        life = (registration.engine_id, registration.incarnation)
        return 0 < registration.number <= self._numbers.get(life, 0)

    def is_of_former_reign(self, registration: Registration) -> bool:
        """Tell whether an engine registers that does not know this leader, and so may have sent it
        before this one handed it what it does not name; the first of a life meets whoever leads.
        """
        return 0 < registration.epoch < self._epoch

    def admit(self, registration: Registration) -> LiveEngine:
        """Take an engine in, or in again under a new incarnation; it keeps what is out at it."""
        engine_id = registration.engine_id
        life = (engine_id, registration.incarnation)
        self._numbers[life] = max(registration.number, self._numbers.pop(life, 0))
        while len(self._numbers) > LIVES_REMEMBERED:
            del self._numbers[next(iter(self._numbers))]
        old = self._live.get(engine_id)
        engine = old.engine if old is not None else Engine(engine_id)
        engine.labels = dict(registration.labels)
        engine.slots = {offer.name: offer.slots for offer in registration.executors}
        engine.is_alive = True
        engine.is_leaving = False
        live = LiveEngine(
            registration=registration,
            engine=engine,
            sender=self._choose_sender(old, registration),
            last_seen=self._clock.monotonic(),
            out=old.out if old is not None else set(),
        )
        self._live[engine_id] = live
        self._placement.admit(engine)
        return live

    def _choose_sender(self, old: LiveEngine | None, registration: Registration) -> Sender:
        """Keep the sender for the same life at the same address, with all it has yet to send."""
        url, incarnation = registration.url, registration.incarnation
        if old is not None:
            former = old.registration
            if not old.sender.is_closed and (former.url, former.incarnation) == (url, incarnation):
                return old.sender
            old.sender.close()
        return self._open_sender(
            registration.engine_id, url, incarnation, self._epoch, self._tell_refused
        )

    def _tell_refused(self, attempt_id: str, detail: str) -> None:
        self._on_refused(attempt_id, f"Its operator engine does not take it: {detail}")

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
            self._placement.dismiss(engine_id)

    def find_heard(self, within_s: float) -> list[str]:
        """Return the engines alive that gave a sign of life within the last seconds."""
        since = self._clock.monotonic() - within_s
        return [
            engine_id
            for engine_id, live in self._live.items()
            if live.engine.is_alive and live.last_seen >= since
        ]

    def beat(self, engine_id: str, beat: Heartbeat) -> HeartbeatReply:
        """Note a sign of life; any thread may."""
        live = self.find(engine_id)
        if live is None or live.registration.incarnation != beat.incarnation:
            return HeartbeatReply(is_known=False)
        live.engine.is_leaving = beat.is_leaving
        live.facts = beat.facts
        live.last_seen = self._clock.monotonic()
        return HeartbeatReply(is_known=not live.is_adopted, epoch=self._epoch)

    def describe(self) -> list[dict[str, Any]]:
        """Describe every engine, also those away, for health and metrics; any thread may ask."""
        now = self._clock.monotonic()
        return [
            {
                "id": live.engine.engine_id,
                "is_alive": live.engine.is_alive,
                "is_leaving": live.engine.is_leaving,
                "silent_s": max(0.0, now - live.last_seen),
                "slots": sum(live.engine.slots.values()),
                "out": len(live.out),
                "facts": msgspec.to_builtins(live.facts),
            }
            for live in list(self._live.values())
        ]

    def find_expired(self) -> list[str]:
        """Return the engines whose lease has run out.

        Where this process itself was stopped for a while, everybody's lease is made longer by that
        while: their heartbeats lie unread in the sockets.
        """
        now = self._clock.monotonic()
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
                plain = [letter for letter in live.letters if not needs_sealing(letter.task)]
                if len(plain) < len(live.letters):
                    rest = [letter for letter in live.letters if needs_sealing(letter.task)]
                    self._courier.send(live.sender, live.registration.sealing_key, rest)
                live.sender.send(plain, live.kills)
                live.letters, live.kills = [], []

    def close(self) -> None:
        """Stop every sender."""
        self._courier.close()
        for live in self._live.values():
            live.sender.close()
