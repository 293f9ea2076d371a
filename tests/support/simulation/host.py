"""Machines that run the real scheduler, turn by turn, and can be killed or stopped at any point."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dag_engine.scheduler.engines import STOPPED_AFTER_S
from dag_engine.scheduler.inbox import EngineStopped, HintCame, Item
from dag_engine.scheduler.loop import Scheduler
from dag_engine.scheduler.settings import Surroundings
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage.errors import BatchRefusedError
from executors.base import Heartbeat, HeartbeatReply
from tests.support.simulation.library import SimulatedLibrary
from tests.support.simulation.network import NetworkSender
from tests.support.simulation.promises import broken
from tests.support.simulation.store import MemoryStore, make_away_error
from tests.support.simulation.timeline import VirtualClock

if TYPE_CHECKING:
    from tests.support.simulation.world import World


class PlainTokens(AttemptTokens):
    """Tokens that cost nothing; a stranger's is `forged`."""

    def make(self, attempt_id: str) -> str:
        """Return the token of an attempt."""
        return f"token of {attempt_id}"

    def is_right(self, attempt_id: str, token: str) -> bool:
        """Tell whether a token is that of the attempt."""
        return token == f"token of {attempt_id}"


TOKENS = PlainTokens("")
LEADER_LEASE_S = 9.0
ENGINE_LEASE_S = 9.0
HEARTBEAT_S = 3.0
QUEUE_LIMITS = {"narrow": 2}
HELD_UP_S = max(ENGINE_LEASE_S / 3, STOPPED_AFTER_S)
"""Where it looks for silent engines so late, a scheduler takes itself to have been held up."""
_SOON_S = 0.002


class ProcessDiedError(BaseException):
    """The scheduler's process is dead: nothing after this point happens."""


class SchedulerProcess:
    """One life of a scheduler; what it asks of the world passes through here."""

    def __init__(self, host: SchedulerHost) -> None:
        self.host = host
        self.is_dead = False
        self.is_in_turn = False

    def pass_point(self, what: str) -> None:
        """Pass a point at which a trap may be set."""
        host = self.host
        host.world.points[what] = host.world.points.get(what, 0) + 1
        if host.trap is not None:
            host.trap_countdown -= 1
            if host.trap_countdown <= 0:
                trap, host.trap = host.trap, None
                trap(what)
                if host.is_frozen and not self.is_dead:
                    self.wait(0.0)
        self.check_alive()

    def check_alive(self) -> None:
        """Stop here where the process is dead."""
        if self.is_dead:
            raise ProcessDiedError

    def reach_database(self, what: str) -> None:
        """Pass a point on the way to the database or back."""
        self.pass_point(what)
        if self.host.world.is_database_away and what not in ("written", "seat written"):
            raise make_away_error()

    def lose_answer(self) -> bool:
        """Tell whether the answer to a write is lost."""
        world = self.host.world
        if world.network.is_hit(world.commit_answer_lost):
            world.note("commit answer lost", self.host.name)
            return True
        return False

    def now(self) -> float:
        """Return the moment of the timeline."""
        return self.host.world.timeline.now

    def wait(self, seconds: float) -> None:
        """Let time pass for everybody else, and longer where this process is stopped meanwhile."""
        world = self.host.world
        world.timeline.run_until(world.timeline.now + seconds)
        while self.host.is_frozen and not self.is_dead:
            world.timeline.run_until(self.host.frozen_until)
        self.check_alive()

    def is_lease_over(self, holder: str, lease_until: float) -> bool:
        """Tell whether a lease is over; a successor on the same machine knows the dead."""
        world = self.host.world
        return lease_until <= world.timeline.now or holder in world.known_dead


class TurnInbox:
    """The inbox of a loop whose turns are taken by the timeline: it never waits."""

    def __init__(self, poke: Callable[[], None]) -> None:
        self._items: list[Item] = []
        self._poke = poke

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item."""
        self._items.append(item)
        self._poke()

    def withdraw(self, item: Item) -> None:
        """Take an item back that nobody waits for any more."""
        self._items = [other for other in self._items if other is not item]

    def drain(self, timeout_s: float) -> list[Item]:
        """Take all there is."""
        del timeout_s
        items, self._items = self._items, []
        return items


class _WatchedScheduler(Scheduler):
    """Lets no round fail unseen, but where the database refuses it."""

    def _isolate(self, items: list[Item]) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, BatchRefusedError):
            raise broken(f"a round failed: {error!r}") from error
        Scheduler._isolate(self, items)


class SchedulerHost:
    """A machine with a scheduler on it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.clock = VirtualClock(world.timeline)
        self.frozen_until = 0.0
        self.trap: Callable[[str], None] | None = None
        self.trap_countdown = 0
        self.n_lives = 0
        self.process = SchedulerProcess(self)
        self.process.is_dead = True
        self.scheduler: Scheduler
        self.store: MemoryStore
        self._turn_at: float | None = None
        self.leads_since = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether its process lives."""
        return not self.process.is_dead

    @property
    def is_frozen(self) -> bool:
        """Whether its process is stopped just now."""
        return self.frozen_until > self.world.timeline.now

    @property
    def inbox(self) -> TurnInbox:
        """The present scheduler's inbox."""
        inbox = self.scheduler.inbox
        assert isinstance(inbox, TurnInbox)
        return inbox

    @property
    def holder(self) -> str:
        """Name of the present process."""
        return f"{self.name}:{self.n_lives}"

    # --- life and death ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start a new process."""
        self.n_lives += 1
        self.frozen_until = 0.0
        self.process = SchedulerProcess(self)
        self.store = MemoryStore(self.world.tables, self.process, self.holder, LEADER_LEASE_S)
        around = Surroundings(
            tokens=TOKENS,
            store_url="file:///store",
            store_marker="marker",
            reports_url=self.name,
            heartbeat_s=HEARTBEAT_S,
            engine_lease_s=ENGINE_LEASE_S,
            queue_limits=QUEUE_LIMITS,
            clock=self.clock,
            draw=self.world.chance.random,
            open_sender=self._open_sender,
            open_library=functools.partial(SimulatedLibrary, self),
        )
        inbox = TurnInbox(functools.partial(self._plan_turn, _SOON_S))
        self.scheduler = _WatchedScheduler(self.store, around, LEADER_LEASE_S, inbox=inbox)
        self._turn_at = None
        self.leads_since = self.world.timeline.now
        self._plan_turn(_SOON_S)

    def _open_sender(
        self,
        engine_id: str,
        url: str,
        incarnation: str,
        epoch: int,
        on_refused: Callable[[str, str], None],
    ) -> NetworkSender:
        del url
        return NetworkSender(self, engine_id, incarnation, epoch, on_refused)

    def kill(self, *, is_known: bool) -> None:
        """Kill the process; a successor on the same machine knows at once that it is dead."""
        if self.is_alive:
            self.process.is_dead = True
            self.trap = None
            if is_known:
                self.world.known_dead.add(self.holder)

    def resign(self) -> None:
        """End the process in an orderly way."""
        if self.is_alive and not self.process.is_in_turn and not self.is_frozen:
            self.scheduler.stop()
            self._run(self.scheduler.run)
            self.process.is_dead = True

    # --- turns ------------------------------------------------------------------------------------

    def _plan_turn(self, delay_s: float) -> None:
        at = self.world.timeline.now + delay_s
        if self.process.is_in_turn or (self._turn_at is not None and self._turn_at <= at):
            return
        self._turn_at = at
        self.world.timeline.after(delay_s, self._turn, self.process, at)

    def _turn(self, process: SchedulerProcess, planned: float) -> None:
        if process.is_dead or process is not self.process or planned != self._turn_at:
            return
        self._turn_at = None
        if self.is_frozen:
            self._plan_turn(self.frozen_until - self.world.timeline.now + _SOON_S)
            return
        looked_at = self._find_last_look()
        self._run(self.scheduler.turn)
        now, looks_at = self.world.timeline.now, self._find_last_look()
        # It was held up before it looked, or by what it did afterwards.
        if max(looks_at - looked_at, now - looks_at) > HELD_UP_S:
            self.leads_since = now
        if process.is_dead or process is not self.process:
            return
        self.world.promises.check_memory(self)
        waits = bool(len(self.inbox))
        self._plan_turn(_SOON_S if waits else max(_SOON_S, self.scheduler.wait_s()))

    def _find_last_look(self) -> float:
        """Tell when the scheduler looked for silent engines last."""
        reign = self.scheduler.reign
        return -1e9 if reign is None else reign.engines._last_check

    def _run(self, work: Callable[[], None]) -> None:
        process = self.process
        process.is_in_turn = True
        try:
            work()
        except ProcessDiedError:
            pass
        finally:
            process.is_in_turn = False

    # --- what other threads of it do --------------------------------------------------------------

    def hint(self, run_ids: list[str], *, has_commands: bool = False) -> None:
        """Take a hint of the api."""
        if self.is_alive and not self.is_frozen:
            self.inbox.put(HintCame(run_ids, has_commands))

    def beat(self, engine_id: str, beat: Heartbeat) -> HeartbeatReply | None:
        """Answer a heartbeat as an HTTP thread does; None where no answer comes."""
        if not self.is_alive or self.is_frozen or self.scheduler.reign is None:
            return None
        if beat.has_left:
            self.inbox.put(EngineStopped(engine_id, beat.incarnation))
        return self.scheduler.reign.engines.beat(engine_id, beat)
