"""What a report may claim that its attempt has made."""

from typing import Any

import msgspec
import pytest

from dag_engine.core import machine
from dag_engine.core.live import Decision, LiveRun
from dag_engine.scheduler.claims import LARGEST_FACTS_BYTES, check_outputs
from executors.base import INLINE_LIMIT_BYTES, ArtifactRef, Column, Outcome
from tests.support.live_runs import NOON, ended, make_run

STORE = "file:///store"
FOLDER = f"{STORE}/runs/r1/1/1"
DIGEST = "0123456789abcdef" * 4


def make_ref(kind: str = "model", uri: str = f"{FOLDER}/0.skops", **fields: Any) -> ArtifactRef:
    return ArtifactRef(type=kind, uri=uri, sha256=DIGEST, size_bytes=10, **fields)


def fitted_on(ref: ArtifactRef) -> dict[str, Any]:
    return {"fitted_on": msgspec.to_builtins(ref)}


TABLE = make_ref("table", f"{STORE}/runs/r1/0/1/0.arrow", columns=[Column(name="x", type="int64")])
FIRST_TABLE = make_ref("table", f"{STORE}/runs/r0/7/2/0.arrow")
FOREIGN = make_ref("table", f"{STORE}/runs/other/0/1/0.arrow")
PASSWORDS = make_ref("table", "file:///etc/passwd")


def make_fed_run(*incoming: ArtifactRef) -> LiveRun:
    """Make a run whose second task is out and got what the first one made."""
    run = make_run([("a", "b")])
    out = Decision(now=NOON)
    machine.start_run(run, out)
    machine.hand_out(run, run.tasks[0], "engine", out)
    machine.attempt_ended(run, 0, ended("r1.0.1"), out)
    run.tasks[0].outputs = list(incoming)
    machine.hand_out(run, run.tasks[1], "engine", out)
    return run


def judge(outcome: Outcome, *incoming: ArtifactRef) -> tuple[str, str]:
    """Check the second task's end; returns its reason and message."""
    run = make_fed_run(*(incoming or (TABLE,)))
    found = check_outputs(outcome, STORE, run, run.tasks[1])
    if found is not outcome:
        assert (found.state, found.outputs, found.metrics) == ("failed", [], {})
    return found.reason, found.message


def end_with(*outputs: ArtifactRef, **fields: Any) -> Outcome:
    return Outcome(
        attempt_id="r1.1.1", kind="ended", state="succeeded", outputs=list(outputs), **fields
    )


MODEL_THAT_CAME = make_ref(uri=f"{STORE}/runs/r1/0/1/1.skops", meta=fitted_on(FIRST_TABLE))


@pytest.mark.parametrize(
    ("table", "incoming"),
    [
        (TABLE, TABLE),
        (FIRST_TABLE, MODEL_THAT_CAME),
        (MODEL_THAT_CAME, MODEL_THAT_CAME),
        (make_ref("table", f"{FOLDER}/1.arrow"), TABLE),
        (ArtifactRef(type="report", inline={"n": 1}), TABLE),
    ],
    ids=["an input", "that of an input", "a model", "of its own", "a value"],
)
def test_a_model_may_be_fitted_on_what_came_in_or_was_made_with_it(
    table: ArtifactRef, incoming: ArtifactRef
) -> None:
    assert judge(end_with(make_ref(meta=fitted_on(table))), incoming) == ("", "")


def test_a_model_may_tell_of_no_table() -> None:
    assert judge(end_with(make_ref(meta={"fitted_on": None, "columns": ["x"]}))) == ("", "")


@pytest.mark.parametrize(
    "told",
    [
        "a table",
        7,
        {},
        {"type": 5},
        {"type": "table", "uri": ["x"]},
        {"type": "table"},
        msgspec.to_builtins(PASSWORDS),
        msgspec.to_builtins(FOREIGN),
        msgspec.to_builtins(msgspec.structs.replace(TABLE, sha256="f" * 64)),
        msgspec.to_builtins(msgspec.structs.replace(TABLE, meta=fitted_on(PASSWORDS))),
        msgspec.to_builtins(ArtifactRef(type="report", inline={"n": 1}, meta=fitted_on(PASSWORDS))),
    ],
)
def test_a_model_that_names_anything_else_as_its_table_is_an_invalid_output(told: Any) -> None:
    reason, message = judge(end_with(make_ref(meta={"fitted_on": told})))
    assert reason == "invalid_output"
    assert message.startswith("Output 0 ")


def test_a_value_that_comes_along_is_no_longer_than_a_worker_lets_it_be() -> None:
    text = "x" * (INLINE_LIMIT_BYTES - len('{"text":""}'))
    longest = ArtifactRef(type="report", inline={"text": text})
    assert judge(end_with(longest)) == ("", "")
    longer = ArtifactRef(type="report", inline={"text": f"{text}x"})
    assert judge(end_with(longer))[0] == "invalid_output"


def test_what_is_told_of_an_output_and_all_metrics_have_a_length_that_a_database_takes() -> None:
    wide = [Column(name=f"column_{i}", type="double") for i in range(10_000)]
    assert judge(end_with(make_ref("table", f"{FOLDER}/0.arrow", columns=wide))) == ("", "")
    long = make_ref(meta={"columns": ["x" * LARGEST_FACTS_BYTES]})
    assert judge(end_with(long))[0] == "invalid_output"
    assert judge(end_with(metrics={"m": 0.5})) == ("", "")
    many = {"m" * LARGEST_FACTS_BYTES: 0.5}
    assert judge(end_with(metrics=many))[0] == "invalid_output"
