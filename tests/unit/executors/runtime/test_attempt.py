import gc
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import msgspec
import pytest

from executors.base import ArtifactRef, Outcome, Resources
from executors.runtime.attempt import run_attempt
from tests.support.attempts import Workshop
from tests.support.sample_algorithms import MODULE


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def fail(workshop, kind):
    outcome = workshop.run(f"{MODULE}:fail", {"kind": kind})
    assert outcome.kind == "ended"
    return msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome)


def test_a_success_carries_its_report_and_its_moments(workshop):
    outcome = workshop.run(f"{MODULE}:echo", {"text": "好"}, seed=11)
    assert (outcome.kind, outcome.state, outcome.reason) == ("ended", "succeeded", "")
    (ref,) = outcome.outputs
    assert ref.inline["params"]["text"] == "好"
    assert ref.inline["seed"] == 11
    assert outcome.started_at <= outcome.ended_at
    assert outcome.started_at.tzinfo is not None
    assert outcome.worker


def test_an_attempt_without_stored_outputs_makes_no_folder(workshop):
    workshop.succeed(f"{MODULE}:echo")
    workshop.succeed(f"{MODULE}:no_outputs")
    assert list(workshop.home.iterdir()) == []


def test_the_log_is_readable_and_keeps_chinese(workshop, capsys):
    workshop.succeed(f"{MODULE}:no_outputs")
    assert capsys.readouterr().out.rstrip().endswith("INFO 你好")


@pytest.mark.parametrize(
    ("kind", "reason", "said"),
    [
        ("input", "invalid_input", "列 x 不存在"),
        ("error", "error", "ZeroDivisionError: by zero"),
        ("memory", "out_of_memory", "MemoryError"),
        ("disk", "disk_full", "No space left"),
        ("wrapped disk", "disk_full", "could not save"),
        ("exit", "exited", "code 3"),
        ("unprintable", "error", "Unprintable"),
        ("surrogate", "error", "ValueError"),
        ("deep", "error", "RecursionError"),
    ],
)
def test_every_failure_has_its_reason(workshop, kind, reason, said):
    outcome = fail(workshop, kind)
    assert (outcome.state, outcome.reason) == ("failed", reason)
    assert said in outcome.message


def test_a_failure_of_the_input_has_a_hint_and_no_traceback(workshop):
    outcome = fail(workshop, "input")
    assert (outcome.hint, outcome.traceback) == ("换一列", "")


def test_a_traceback_begins_in_the_algorithm(workshop):
    lines = fail(workshop, "error").traceback.splitlines()
    assert "sample_algorithms.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: by zero"


def test_a_long_traceback_is_cut_in_the_middle(workshop):
    assert len(fail(workshop, "deep").traceback) < 33_000


def test_the_exit_code_of_an_algorithm_that_exits_is_kept(workshop):
    assert fail(workshop, "exit").exit_code == 3


def test_sigterm_ends_the_attempt_as_cancelled(workshop):
    outcome = fail(workshop, "terminate")
    assert (outcome.state, outcome.signal) == ("cancelled", signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_workers_own_is_left_alone(workshop):
    caught = []
    signal.signal(signal.SIGTERM, lambda *_: caught.append(True))
    try:
        assert fail(workshop, "terminate").state == "succeeded"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert caught == [True]


def test_a_keyboard_interrupt_ends_the_attempt_as_cancelled(workshop):
    assert fail(workshop, "interrupt").state == "cancelled"


def test_what_is_cancelled_before_its_start_does_not_run(workshop, capsys):
    workshop.is_cancelled = True
    assert workshop.run(f"{MODULE}:no_outputs").state == "cancelled"
    assert capsys.readouterr().out == ""


def test_an_algorithm_that_looks_ends_when_it_is_cancelled(workshop):
    task = workshop.make_task(f"{MODULE}:loop")
    asked = []

    def is_cancelled():
        asked.append(True)
        return len(asked) > 100

    outcome = run_attempt(task, workshop.settings, workshop.told.append, is_cancelled)
    assert (outcome.state, outcome.outputs) == ("cancelled", [])


def test_an_attempt_may_run_outside_the_main_thread(workshop):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(workshop.run(f"{MODULE}:echo")))
    thread.start()
    thread.join()
    assert outcomes[0].state == "succeeded"


def test_progress_is_told_at_a_measured_pace_and_the_last_with_the_end(workshop):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        outcome = workshop.run(f"{MODULE}:talk")
    assert outcome.state == "succeeded"
    assert (outcome.progress.done, outcome.progress.total) == (100, 100)
    assert outcome.progress.message == "100步"
    assert outcome.metrics == {"auc": 0.5}
    assert 1 <= len(workshop.told) < 10
    assert workshop.told[0].kind == "progress"


def test_warnings_and_bad_metrics_are_in_the_log_of_every_attempt(workshop, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for _ in range(2):
            workshop.run(f"{MODULE}:talk")
            log = capsys.readouterr().out
            assert "FutureWarning: an old way was used" in log
            assert "Metric nothing is nan" in log


def test_the_private_folder_is_removed(workshop):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        workshop.run(f"{MODULE}:talk")
    assert list((workshop.home / "work").iterdir()) == []


def test_deprecated_parameters_are_named_in_the_log(workshop, capsys):
    workshop.succeed(f"{MODULE}:echo", {"old": "x"})
    assert "Parameter old is deprecated: it is ignored now." in capsys.readouterr().out
    workshop.succeed(f"{MODULE}:echo", {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("params", "place"),
    [
        ({"whole": True}, "'whole'"),
        ({"whole": "1"}, "'whole'"),
        ({"whole": 1.5}, "'whole'"),
        ({"whole": -1}, "'whole'"),
        ({"flag": 1}, "'flag'"),
        ({"text": 1}, "'text'"),
        ({"many": ["a", 1]}, "'many.1'"),
        ({"real": True}, "'real'"),
        ({"real": None}, "'real'"),
        ({"unknown": 1}, "'unknown'"),
    ],
)
def test_a_parameter_that_does_not_fit_is_named(workshop, params, place):
    outcome = workshop.run(f"{MODULE}:echo", params)
    assert (outcome.reason, outcome.traceback) == ("invalid_input", "")
    assert place in outcome.message


def test_a_missing_parameter_is_named(workshop):
    outcome = workshop.run(f"{MODULE}:fail", {})
    assert outcome.message == "Parameter 'kind' is missing."


def test_a_whole_number_will_do_for_a_real_one(workshop):
    (ref,) = workshop.succeed(f"{MODULE}:echo", {"real": 2})
    assert ref.inline["params"]["real"] == 2.0


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("os:system", "no algorithm 'system'"),
        ("nowhere.at_all:f", "'nowhere'"),
        ("/nowhere/file.py:f", "not on this machine"),
        ("__import__('os'):f", "neither module:function"),
        (f"{MODULE}:nothing", "no algorithm 'nothing'"),
        ("../x.py:f", "neither module:function"),
    ],
)
def test_an_entry_that_is_no_algorithm_is_refused(workshop, entry, said):
    outcome = workshop.run(entry)
    assert (outcome.state, outcome.reason) == ("failed", "error")
    assert said in outcome.message


def test_outputs_that_are_not_what_is_declared_are_refused(workshop):
    for kind in ("none", "list", "series", "mixed", "object", "foreign model"):
        outcome = workshop.run(f"{MODULE}:return_value", {"kind": kind})
        assert (outcome.state, outcome.reason) == ("failed", "invalid_output"), kind
        assert "'value'" in outcome.message, kind


def test_a_missing_output_is_refused_and_nothing_is_stored(workshop):
    outcome = workshop.run(f"{MODULE}:two_outputs", {"kind": "one"})
    assert outcome.reason == "invalid_output"
    assert "DataFrame came" in outcome.message
    outcome = workshop.run(f"{MODULE}:two_outputs", {"kind": "bad"})
    assert outcome.reason == "invalid_output"
    assert [path for path in workshop.home.rglob("*") if path.is_file()] == []


def test_tables_come_back_as_the_annotation_says(workshop):
    rows, _ = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    (seen,) = workshop.succeed(f"{MODULE}:count", inputs=[[rows]])
    assert seen.inline == {"type": "DataFrame", "rows": 2, "columns": ["城市", "n"]}
    (seen,) = workshop.succeed(f"{MODULE}:count_arrow", inputs=[[rows]])
    assert seen.inline == {"type": "Table", "rows": 2}


def test_ports_may_be_left_open_take_many_or_anything(workshop):
    (one,) = workshop.succeed(f"{MODULE}:echo")
    (seen,) = workshop.succeed(f"{MODULE}:ports")
    assert seen.inline == {"maybe": None, "several": [], "opened": "NoneType"}
    rows, report = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    (seen,) = workshop.succeed(f"{MODULE}:ports", inputs=[[one], [report, report], [rows]])
    assert seen.inline["maybe"]["seed"] == 0
    assert seen.inline["several"] == [{"n": 2}, {"n": 2}]
    assert seen.inline["opened"] == "DataFrame"


def test_inputs_that_do_not_fit_their_port_are_refused(workshop):
    rows, report = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    for inputs, said in (
        ([], "has no edge"),
        ([[report]], "takes table; a report came"),
        ([[rows, rows]], "takes one edge"),
    ):
        outcome = workshop.run(f"{MODULE}:count", inputs=inputs)
        assert outcome.reason == "invalid_input"
        assert said in outcome.message


def test_threads_of_numeric_libraries_keep_to_the_cores_asked_for(workshop):
    import numpy as np  # noqa: F401 - loaded, so that there are pools to limit
    import threadpoolctl

    workshop.succeed(f"{MODULE}:echo", resources=Resources(cpu=2))
    assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {2}
    workshop.succeed(f"{MODULE}:echo", resources=Resources(cpu=0.5))
    assert {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} == {1}


def test_an_attempt_that_does_nothing_costs_little(workshop):
    task = workshop.make_task(f"{MODULE}:echo")
    workshop.run_task(task)
    gc.disable()
    try:
        costs = []
        for _ in range(200):
            started = time.perf_counter()
            workshop.run_task(task)
            costs.append(time.perf_counter() - started)
    finally:
        gc.enable()
    assert sorted(costs)[20] < 0.0002


def test_a_light_attempt_imports_no_data_library(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tests.support.attempts import Workshop\n"
        "workshop = Workshop(Path(sys.argv[1]))\n"
        f"workshop.succeed('{MODULE}:echo')\n"
        "heavy = {'pandas', 'numpy', 'sklearn', 'pyarrow', 'fsspec', 'sqlalchemy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    root = Path(__file__).parents[4]
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, timeout=50)


def test_references_of_another_installation_are_refused(workshop, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "0.arrow"
    outside.write_bytes(b"x")
    ref = ArtifactRef(type="table", uri=f"file://{outside}", size_bytes=1)
    outcome = workshop.run(f"{MODULE}:count", inputs=[[ref]])
    assert outcome.reason == "invalid_input"
    assert "does not lie in the store" in outcome.message
