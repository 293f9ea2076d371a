"""Guards of the core and of the scheduler that are taken out, one at a time, while histories are
played: a checker that finds nothing then is worth nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dag_engine.core import (
    consequences,
    live,
    machine,
    moves,
    paces,
    placement,
    retries,
    twins,
    work_keys,
)
from dag_engine.scheduler import engines, reign, reuse
from dag_engine.storage import leadership, scheduler_store
from tests.support.simulation import store


@dataclass(frozen=True, slots=True)
class Mutant:
    """One place of a function that is changed; `old` stands in it exactly once.

    `seed` is a history that broke a promise without the guard, last time somebody looked.
    """

    name: str
    function: Callable[..., Any]
    old: str
    new: str
    seed: int = 0

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Run the changed code instead, wherever the function was imported to."""
        function: Any = self.function
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise ValueError(f"{function.__qualname__} does not hold once: {self.old}")
        names: dict[str, Any] = {}
        exec(source.replace(self.old, self.new), function.__globals__, names)
        before = function.__code__
        changed = names[function.__name__]
        function.__code__ = getattr(changed, "fget", changed).__code__
        try:
            yield
        finally:
            function.__code__ = before


_COMMIT = "if out.batch:\n        self._around.figures.commit(self._store.commit, out.batch)\n"

MUTANTS = (
    Mutant(
        "a report of another attempt counts",
        reign.Reign._apply,
        "if run.tasks[index].row.attempt != attempt:",
        "if False:",
        1044,
    ),
    Mutant(
        "no token is checked",
        reign.Reign._report,
        "if self._around.tokens.is_right(attempt_id, report.token):",
        "if True:",
        45,
    ),
    Mutant(
        "the fence is open",
        store.MemorySession.write,
        "if (row.epoch, row.batch) != (epoch, batch):",
        "if False:",
        1507,
    ),
    Mutant(
        "a refused write counts as done",
        scheduler_store.SchedulerStore._write_once,
        "!= [(epoch, batch + 1)]",
        "== []",
        49,
    ),
    Mutant(
        "a lease is taken that has not run out",
        leadership.Leadership._may_take,
        "if row.is_expired or",
        "if True or",
        806,
    ),
    Mutant("event numbers have gaps", moves._note, "last_seq += 1", "last_seq += 2"),
    Mutant("counts are wrong", moves.change_task, "counts[old] -= 1", "counts[old] -= 0"),
    Mutant(
        "a task starts before its last upstream",
        consequences.may_offer,
        "task.n_waiting == 0",
        "task.n_waiting <= 1",
        3,
    ),
    Mutant("losses have no budget", retries.rule, "if n_losses > LOSS_BUDGET:", "if False:", 17),
    Mutant("retries have no budget", retries.rule, "n_failures < plan.retries", "True", 3),
    Mutant(
        "every failure is repeated",
        retries.rule,
        "outcome.reason in plan.retry_on and",
        "True and",
        1,
    ),
    Mutant(
        "answers come before the commit",
        reign.Reign._carry_out,
        _COMMIT,
        "for reply, value in self._answers:\n        reply.set(value)\n    " + _COMMIT,
    ),
    Mutant(
        "tasks are sent before the commit",
        reign.Reign._carry_out,
        _COMMIT,
        "self.engines.flush()\n    " + _COMMIT,
        45,
    ),
    Mutant("reports are never answered", reign.Reign._carry_out, "reply.set(value)", "pass", 1),
    Mutant(
        "queues have no limit",
        placement.Placement._choose,
        "if limit is not None and",
        "if False and",
        22,
    ),
    Mutant(
        "an engine's window has no end",
        placement.Engine.has_room,
        "return self.taken.get(executor, 0) < places * PLACE",
        "return True",
        54,
    ),
    Mutant(
        "long work takes an eighth of a place",
        paces.Paces.weigh,
        "return min(PLACE, 1 + int(PLACE * seconds / _PLACE_S))",
        "return 1",
        54,
    ),
    Mutant(
        "labels do not count",
        placement.Engine.serves,
        "and all(",
        "or all(",
        3,
    ),
    Mutant("a stopped run goes on", consequences._stop, "if run.is_stopping:", "if True:", 5),
    Mutant(
        "a paused run goes on",
        live.LiveRun.may_start.fget,
        "self.state is RunState.RUNNING and",
        "",
        39,
    ),
    Mutant(
        "stale reports are not recorded",
        reign.Reign._report,
        'if word == "stale":  #',
        'if word == "never":  #',
        4,
    ),
    Mutant(
        "a successor forgets retries",
        machine.resume_after_takeover,
        "task.state is TaskState.RETRYING and",
        "False and",
        25,
    ),
    Mutant(
        "a successor counts nothing as out",
        reign.Reign._recover,
        "self._placement.count_out(attempt_id, live.engine.engine_id, run, task)",
        "pass",
        9,
    ),
    Mutant(
        "what an engine no longer holds is waited for",
        reign.Reign._reconcile,
        "sorted(live.out - held)",
        "[]",
        9,
    ),
    Mutant(
        "what nobody wants is not killed",
        reign.Reign._register,
        "if attempt_id not in live.out]",
        "if False]",
        2,
    ),
    Mutant(
        "a late start is not killed",
        reign.Reign._hear,
        'if verdict.verdict == "stale" and',
        "if False and",
        98244,
    ),
    Mutant(
        "a silent engine keeps its lease",
        engines.Engines.find_expired,
        "> self._lease_s",
        "> 1e9",
        2,
    ),
    Mutant(
        "a stopped scheduler takes everybody for dead",
        engines.Engines.find_expired,
        "if gap > max(",
        "if gap > 1e9 + max(",
        52,
    ),
    Mutant(
        "a registration that was overtaken counts",
        engines.Engines.is_outdated,
        "return 0 < registration.number",
        "return 0 > registration.number",
        20,
    ),
    Mutant(
        "an engine may register that does not know the leader",
        engines.Engines.is_of_former_reign,
        "return 0 < registration.epoch",
        "return 0 > registration.epoch",
        41631,
    ),
    Mutant(
        "a failed run counts as succeeded",
        consequences._culprit,
        "provider(run, task.plan.index) is None",
        "False",
        1,
    ),
    Mutant(
        "an alternative runs though it is not needed",
        consequences.may_offer,
        "(not task.plan.is_alternative or task.is_called)",
        "True",
        22,
    ),
    Mutant(
        "missing outputs are not missed",
        retries.normalise,
        "len(outcome.outputs) != n_outputs",
        "False",
        1,
    ),
    Mutant(
        "work without a hint is not found",
        reign.Reign._poll,
        "self._hinted += self._store.find_new_run_ids(LOAD_CHUNK + 1)",
        "pass",
        19,
    ),
    Mutant(
        "a cancelled attempt still counts as out",
        consequences.cancel_live_task,
        "close_attempt(run, task, out)",
        "pass",
        4,
    ),
    Mutant(
        "a final state can change",
        machine.attempt_ended,
        "if task.state not in OPEN_TASK_STATES:",
        "if task.state is TaskState.CANCELLED:",
        25,
    ),
    Mutant(
        "a former result stands in though a fresh one is asked for",
        reuse.Reuse._make_question,
        'if plan.cache != "use" or',
        'if plan.cache == "off" or',
        5,
    ),
    Mutant(
        "a result stands in whatever its seed",
        consequences.apply_success,
        "key = keys.choose(has_read_seed=outcome.has_read_seed)",
        "key = keys.choose(has_read_seed=False)",
        235,
    ),
    Mutant(
        "a result stands in whatever came in",
        work_keys.make_work_keys,
        "[plan.work_base, prints]",
        "[plan.work_base]",
        17,
    ),
    Mutant(
        "equal work is done twice at once",
        twins.Twins.park,
        "if name not in self._by_name or",
        "if True or",
        3,
    ),
    Mutant(
        "what was made while a task waited is not seen",
        twins.Twins.is_made_since,
        'if task.plan.cache != "use" or',
        "if True or",
        353,
    ),
    Mutant(
        "a successor does not know what is being made",
        reign.Reign._recover,
        "self._placement.count_out(attempt_id, live.engine.engine_id, run, task)",
        "self._placement.count_out(attempt_id, live.engine.engine_id, run, task)\n"
        "    self._placement.twins = type(self._placement.twins)()",
        367,
    ),
    Mutant(
        "who waited for equal work is forgotten",
        twins.Twins.note_back,
        "released |= self._parked.pop(name, {})",
        "pass",
        3,
    ),
    Mutant(
        "a former result comes to what has gone on",
        reuse.Reuse.hear,
        "if run is None or not _is_as_asked(asked):",
        "if run is None:",
        579,
    ),
    Mutant(
        "a paused run is given former results",
        reuse.Reuse.hear,
        "if answer.former is not None and run.may_start:",
        "if answer.former is not None:",
        1145,
    ),
    Mutant(
        "a mute library is waited for",
        reuse.Reuse.wait_no_longer,
        "if asked.deadline > now:",
        "if True:",
        27,
    ),
)

HANDS_OUT_TOO_EARLY = Mutant(
    "a successor hands out before it has counted all that is out",
    reign.Reign.take_over,
    "self._carry_out(out)",
    "out.ready, waiting = waiting, []\n        self._conclude(out)",
    552,
)
"""Noticed only where a successor loads in pieces what is left."""
