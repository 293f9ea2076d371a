"""What a leader makes of single messages, with nothing stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dag_engine.core.changes import Batch, StoredCommand
from dag_engine.core.states import RunState
from dag_engine.scheduler.inbox import EngineRegisters, EngineStopped, HintCame, ReportsCame
from dag_engine.scheduler.reign import LOAD_CHUNK
from executors.base import InventoryItem, Outcome, Progress, Report, ReportBatch, Verdict
from tests.support.busy_reign import TOKENS, BusyReign, make_registration, make_stored_run

ENGINE = "engine_0"
RUN = "r000000"


def report(busy: BusyReign, outcome: Outcome, token: str = "", life: str = "first") -> Verdict:
    """Report as an operator engine does; the token is the right one unless another is given."""
    token = token or TOKENS.make(outcome.attempt_id)
    reports = [Report(outcome=outcome, token=token)]
    item = ReportsCame(ReportBatch(engine_id=ENGINE, incarnation=life, reports=reports))
    busy.turn(item)
    [verdict] = item.reply.wait(0.0).verdicts
    assert isinstance(verdict, Verdict)
    return verdict


def hand_back(attempt_id: str) -> Outcome:
    return Outcome(
        attempt_id=attempt_id, kind="ended", state="failed", reason="lost", is_handed_back=True
    )


def note_batches(busy: BusyReign) -> list[Batch]:
    """Keep what is committed from now on."""
    batches: list[Batch] = []
    commit = busy.store.commit

    def note(batch: Batch) -> None:
        batches.append(batch)
        commit(batch)

    busy.store.commit = note  # type: ignore[method-assign]
    return batches


def test_an_engine_that_has_stopped_is_not_heard_of() -> None:
    busy = BusyReign(1)
    assert busy.reign.engines.find_heard(60.0) == [ENGINE]
    busy.turn(EngineStopped(ENGINE, "first"))
    assert busy.reign.engines.find_heard(60.0) == []


@pytest.mark.parametrize(
    ("attempt_id", "token", "life", "is_spared"),
    [
        (f"{RUN}.0.1", "", "first", True),
        (f"{RUN}.0.1", "guessed", "first", False),
        (f"{RUN}.0.1", "", "former", False),
        (f"{RUN}.0.2", "", "first", False),
    ],
    ids=["its own word", "a stranger's", "a former life's", "a stale one"],
)
def test_only_who_hands_back_what_it_holds_is_handed_nothing(
    attempt_id: str, token: str, life: str, is_spared: bool
) -> None:
    busy = BusyReign(1)
    report(busy, hand_back(attempt_id), token, life)
    [described] = busy.reign.status()["engines"]
    assert described["is_leaving"] is is_spared


def test_the_end_of_a_former_life_is_not_written_over_the_next_one() -> None:
    busy = BusyReign(1)
    batches = note_batches(busy)
    second = msgspec.structs.replace(make_registration(ENGINE, 8), incarnation="second")
    busy.turn(EngineStopped(ENGINE, "first"), EngineRegisters(second))
    assert [batch.engines for batch in batches] == [{}]
    live: Any = busy.reign.engines.find(ENGINE)
    assert live.registration.incarnation == "second"


def test_a_former_attempt_is_dead_once_its_end_is_told_and_no_sooner() -> None:
    busy = BusyReign(1, tasks_a_run=2)
    run = busy.reign._runs[RUN]
    former = f"{RUN}.0.0"
    run.dying.add(former)
    busy.command(RUN, "cancel")
    report(busy, Outcome(attempt_id=f"{RUN}.0.1", kind="ended", state="cancelled"))
    progress = Progress(done=1, total=2)
    assert report(busy, Outcome(attempt_id=former, kind="started")).verdict == "stale"
    told = Outcome(attempt_id=former, kind="progress", progress=progress)
    assert report(busy, told).verdict == "stale"
    assert run.state is RunState.CANCELLING
    report(busy, Outcome(attempt_id=former, kind="ended", state="cancelled"))
    assert run.state is RunState.CANCELLED


def test_an_engine_gets_the_tokens_of_its_own_attempts_alone() -> None:
    busy = BusyReign(2, n_engines=2, tasks_a_run=4)
    engines = [busy.reign.engines.find(f"engine_{number}") for number in (0, 1)]
    mine, others = [sorted(live.out) for live in engines if live is not None]
    assert mine
    assert others
    held = [*mine, *others, f"{RUN}.3.0", "x", f"{RUN}.99.1"]
    again = msgspec.structs.replace(
        make_registration(ENGINE, 8),
        inventory=[InventoryItem(attempt_id=name, stage="started") for name in held],
    )
    item = EngineRegisters(again)
    busy.turn(item)
    answer = item.reply.wait(0.0)
    assert answer.tokens == {name: TOKENS.make(name) for name in mine}
    assert answer.forget == held[len(mine) :]


def test_a_command_is_carried_out_once_however_many_told_of_it() -> None:
    busy = BusyReign(1)
    batches = note_batches(busy)
    waiting = [StoredCommand(1, RUN, "pause")]
    busy.store.find_commands = lambda limit: waiting[:limit]  # type: ignore[method-assign]
    hint = HintCame(has_commands=True)
    busy.pass_time(5.0)  # they are also looked for by themselves
    busy.turn(hint, hint)
    [batch] = batches
    assert [(command.command_id, command.result) for command in batch.commands] == [(1, "applied")]


def test_hints_that_come_together_are_one_look() -> None:
    busy = BusyReign(1)
    looks: list[list[str]] = []
    load = busy.store.load_runs

    def note(run_ids: list[str]) -> Any:
        looks.append(run_ids)
        return load(run_ids)

    busy.store.load_runs = note  # type: ignore[method-assign]
    busy.turn(HintCame(["s1", RUN]), HintCame(["s2"]), HintCame(["s1", "s3"]))
    assert looks == [["s1", "s2", "s3"]]


@pytest.mark.parametrize("is_hinted", [True, False])
def test_new_runs_in_plenty_are_taken_up_in_pieces_without_a_pause(*, is_hinted: bool) -> None:
    busy = BusyReign(1)
    n_taken_up = []
    commit = busy.store.commit

    def note(batch: Batch) -> None:
        n_taken_up.append(len(batch.consumed_runs))
        commit(batch)

    busy.store.commit = note  # type: ignore[method-assign]
    for number in range(2 * LOAD_CHUNK + 7):
        name = f"s{number:03}"
        busy.store.runs[name] = make_stored_run(name, "queue_0", 2)
    busy.pass_time(0.0 if is_hinted else 5.0)
    busy.turn(*[HintCame([name]) for name in busy.store.runs if is_hinted])
    while busy.reign.wait_s() == 0.0:
        busy.turn()
    assert n_taken_up[:3] == [LOAD_CHUNK, LOAD_CHUNK, 7]


def test_what_cannot_be_taken_up_is_not_looked_for_without_a_pause() -> None:
    busy = BusyReign(1)
    busy.store.find_new_run_ids = lambda limit: [f"s{n}" for n in range(limit)]  # type: ignore[method-assign]
    busy.pass_time(5.0)
    busy.turn()
    assert busy.reign.wait_s() > 0.0
