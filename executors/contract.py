"""The conformance suite of executors: what `executors.base` promises, as tests.

A subclass names its executor and gets every test::

    class TestMine(ExecutorContract):
        fault_operators = "/path/of/fault_operators.py"

        @classmethod
        def make_executor(cls, settings):
            return MyExecutor("mine", {}, settings)

It runs with pytest. The back end is started once for the class; every test uses attempts of its
own. `fault_operators` is a file with the algorithms that misbehave (`tests/support` has it).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from executors.base import BaseExecutor, ExecutorSettings, Resources, Task
from executors.contract_tools import Ledger, Listener, is_alive, submit, wait_until
from executors.errors import UnknownAttemptError

_indexes = itertools.count(1)


class ExecutorContract:
    """What every executor must come through."""

    fault_operators: ClassVar[str]
    """Path of the file with the fault operators."""
    exit_reasons: ClassVar[frozenset[str]] = frozenset({"exited"})
    kill_reasons: ClassVar[frozenset[str]] = frozenset({"killed"})
    segfault_reasons: ClassVar[frozenset[str]] = frozenset({"segfault"})
    """How the executor may call these deaths; one that cannot tell them apart allows more."""
    kill_limit_s: ClassVar[float] = 2.0
    """How long a cancel or timeout may take, descendants included."""
    has_memory_limits: ClassVar[bool] = True

    @classmethod
    def make_executor(cls, settings: ExecutorSettings) -> BaseExecutor:
        """Make a new object of the executor under test."""
        raise NotImplementedError

    @classmethod
    @contextlib.contextmanager
    def run_backend(cls, settings: ExecutorSettings) -> Iterator[None]:
        """Run what the executor talks to; nothing where it runs anyway."""
        yield

    # --- fixtures ---------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, tmp_path_factory: pytest.TempPathFactory) -> ExecutorSettings:
        """Give settings with folders of their own."""
        home = tmp_path_factory.mktemp("home")
        return ExecutorSettings(
            home=str(home), logs=str(home / "logs"), store_url=f"file://{home}/artifacts"
        )

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, settings: ExecutorSettings) -> Iterator[None]:
        """Run the back end for the class."""
        with cls.run_backend(settings):
            yield

    @pytest.fixture
    def executor(self, settings: ExecutorSettings, backend: None) -> Iterator[BaseExecutor]:
        """Give an executor object, closed afterwards."""
        executor = self.make_executor(settings)
        yield executor
        executor.close()

    @pytest.fixture
    def listener(self, executor: BaseExecutor) -> Iterator[Listener]:
        """Give a listener; what it has not seen end is cancelled, and all ends are released."""
        listener = Listener(executor)
        yield listener
        open_ends = {outcome.attempt_id for outcome in listener.heard}
        open_ends -= {outcome.attempt_id for outcome in listener.heard if outcome.kind == "ended"}
        for handle in open_ends:
            executor.cancel(handle)
        for handle in open_ends:
            listener.end_of(handle)
        executor.release(sorted({outcome.attempt_id for outcome in listener.heard}))

    @pytest.fixture
    def ledger(self, tmp_path: Path) -> Ledger:
        """Give an empty ledger."""
        return Ledger(tmp_path / "ledger")

    @pytest.fixture
    def make_task(self, settings: ExecutorSettings) -> Callable[..., Task]:
        """Give a function that makes a task of a fault operator: `make_task("hang", timeout_s=1,
        params={...})`.
        """
        run_id = f"r{secrets.token_hex(9)}"

        def make(operator: str, **fields: Any) -> Task:
            index = next(_indexes)
            return Task(
                attempt_id=f"{run_id}.{index}.1",
                run_id=run_id,
                operator=operator,
                index=index,
                attempt=1,
                algorithm=operator,
                entry=f"{self.fault_operators}:{operator}",
                n_outputs=1,
                folder=f"{settings.store_url}/runs/{run_id}/{index}/1",
                **fields,
            )

        return make

    # --- how attempts end -------------------------------------------------------------------------

    def test_success_is_told_with_outputs_and_moments(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """A good task ends `succeeded`."""
        handle = submit(listener.executor, make_task("ok", params={"value": 7}))
        end = listener.end_of(handle)
        assert (end.state, end.reason) == ("succeeded", "")
        assert [output.inline for output in end.outputs] == [{"value": 7}]
        assert end.started_at is not None
        assert end.ended_at is not None
        assert end.started_at <= end.ended_at
        assert end.started_at.utcoffset() is not None

    def test_error_is_told_with_message_and_traceback(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """An exception ends the attempt as `error`; Chinese text stays as it is."""
        end = listener.end_of(submit(listener.executor, make_task("raise_error")))
        assert (end.state, end.reason) == ("failed", "error")
        assert "列名不对" in end.message
        assert "raise_error" in end.traceback

    def test_refused_input_is_told_without_traceback(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """An algorithm that finds fault with its input says so to people."""
        end = listener.end_of(submit(listener.executor, make_task("refuse_input")))
        assert (end.state, end.reason, end.traceback) == ("failed", "invalid_input", "")
        assert end.hint == "Choose another table."

    def test_error_that_cannot_be_pickled_is_told_like_any_other(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """Errors travel as text."""
        end = listener.end_of(submit(listener.executor, make_task("raise_unpicklable")))
        assert (end.state, end.reason) == ("failed", "error")
        assert "cannot travel" in end.message

    def test_exit_of_the_worker_is_named(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """`os._exit` in an algorithm is no success."""
        end = listener.end_of(submit(listener.executor, make_task("exit_process")))
        assert end.state == "failed"
        assert end.reason in self.exit_reasons
        if "exited" in self.exit_reasons:
            assert end.exit_code == 3

    def test_kill_of_the_worker_is_named(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """SIGKILL from outside is told as such."""
        end = listener.end_of(submit(listener.executor, make_task("kill")))
        assert end.state == "failed"
        assert end.reason in self.kill_reasons

    def test_segfault_of_the_worker_is_named(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """A crash in native code is told as such."""
        end = listener.end_of(submit(listener.executor, make_task("segfault")))
        assert end.state == "failed"
        assert end.reason in self.segfault_reasons

    def test_neighbours_of_a_dying_worker_are_unhurt(
        self, listener: Listener, make_task: Callable[..., Task], tmp_path: Path
    ) -> None:
        """One death hurts one task."""
        gate = tmp_path / "gate"
        params = {"gate": str(gate)}
        innocents = [submit(listener.executor, make_task("ok", params=params)) for _ in range(2)]
        for innocent in innocents:
            listener.wait_for(innocent, "started")
        assert listener.end_of(submit(listener.executor, make_task("kill"))).state == "failed"
        assert listener.end_of(submit(listener.executor, make_task("segfault"))).state == "failed"
        gate.touch()
        assert [listener.end_of(one).state for one in innocents] == ["succeeded"] * 2

    def test_large_output_arrives_whole(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """What is too large for an outcome travels by reference."""
        task = make_task("huge_result", params={"n_bytes": 3_000_000})
        end = listener.end_of(submit(listener.executor, task))
        assert end.state == "succeeded"
        output = end.outputs[0]
        assert output.inline is None
        data = Path(output.uri.removeprefix("file://")).read_bytes()
        assert len(data) == output.size_bytes > 3_000_000
        assert hashlib.sha256(data).hexdigest() == output.sha256

    def test_memory_limit_is_kept_and_named(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """A task that takes more than its memory ends `out_of_memory`."""
        if not self.has_memory_limits:
            pytest.skip("this executor keeps no memory limits")
        task = make_task("memory_hog", resources=Resources(memory_mb=300))
        end = listener.end_of(submit(listener.executor, task))
        assert (end.state, end.reason) == ("failed", "out_of_memory")
        assert "300 MiB" in end.message

    # --- timeout and cancel -----------------------------------------------------------------------

    def test_timeout_kills_even_what_ignores_sigterm(
        self, listener: Listener, make_task: Callable[..., Task], ledger: Ledger
    ) -> None:
        """The limit counts from the start."""
        params = {"ledger": str(ledger.path), "is_deaf": True}
        task = make_task("hang", timeout_s=1.5, params=params)
        handle = submit(listener.executor, task)
        pid = ledger.pid_of("hang")
        begun = time.monotonic()
        end = listener.end_of(handle)
        assert (end.state, end.reason) == ("failed", "timeout")
        assert time.monotonic() - begun < 1.5 + self.kill_limit_s
        assert not is_alive(pid)

    def test_cancel_kills_the_task_with_all_descendants(
        self, listener: Listener, make_task: Callable[..., Task], ledger: Ledger
    ) -> None:
        """A grandchild in a session of its own dies too."""
        task = make_task("forks_setsid_child", params={"ledger": str(ledger.path)})
        handle = submit(listener.executor, task)
        pids = [ledger.pid_of("child"), ledger.pid_of("parent")]
        begun = time.monotonic()
        listener.executor.cancel(handle)
        end = listener.end_of(handle)
        assert end.state == "cancelled"
        assert time.monotonic() - begun < self.kill_limit_s
        assert [pid for pid in pids if is_alive(pid)] == []

    def test_cancel_before_submit_keeps_the_task_from_running(
        self, listener: Listener, make_task: Callable[..., Task], ledger: Ledger
    ) -> None:
        """The mark that a cancel leaves is found by the submit."""
        task = make_task("ok", params={"ledger": str(ledger.path)})
        listener.executor.cancel(listener.executor.handle_of(task.attempt_id))
        end = listener.end_of(submit(listener.executor, task))
        assert end.state == "cancelled"
        assert ledger.entries() == []

    def test_cancel_after_the_end_changes_nothing(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """An end is final."""
        handle = submit(listener.executor, make_task("ok"))
        listener.end_of(handle)
        listener.executor.cancel(handle)
        listener.end_of(submit(listener.executor, make_task("ok")))
        assert [told.state for told in listener.of(handle) if told.kind == "ended"] == ["succeeded"]

    def test_what_a_finished_task_left_running_is_killed(
        self, listener: Listener, make_task: Callable[..., Task], ledger: Ledger
    ) -> None:
        """The task's own end is not changed by it."""
        params = {"ledger": str(ledger.path), "then": "return"}
        handle = submit(listener.executor, make_task("forks_setsid_child", params=params))
        assert listener.end_of(handle).state == "succeeded"
        child = ledger.pid_of("child")
        wait_until(lambda: not is_alive(child), "death of the child that was left")

    def test_what_a_dead_worker_s_task_left_running_is_killed(
        self, listener: Listener, make_task: Callable[..., Task], ledger: Ledger
    ) -> None:
        """When the end is told, nothing of the task runs any more."""
        params = {"ledger": str(ledger.path), "then": "die"}
        handle = submit(listener.executor, make_task("forks_setsid_child", params=params))
        assert listener.end_of(handle).state == "failed"
        assert not is_alive(ledger.pid_of("child"))

    # --- submit, poll, release --------------------------------------------------------------------

    def test_same_attempt_submitted_again_is_started_once(
        self,
        listener: Listener,
        make_task: Callable[..., Task],
        settings: ExecutorSettings,
        ledger: Ledger,
    ) -> None:
        """Also by another object, also after its end, also after its release."""
        task = make_task("slow_start", params={"ledger": str(ledger.path), "seconds": 0.2})
        handle = submit(listener.executor, task)
        assert submit(listener.executor, task) == handle
        with contextlib.closing(self.make_executor(settings)) as other:
            assert submit(other, task) == handle
            listener.end_of(handle)
            assert submit(other, task) == handle
            other.release([handle])
            assert submit(other, task) == handle
            marker = make_task("ok")
            listener.end_of(submit(other, marker))
        assert len(ledger.entries()) == 1

    def test_long_task_is_told_as_started_and_short_one_may_tell_its_end_only(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """Starts come before ends and carry their moment."""
        handle = submit(listener.executor, make_task("slow_start"))
        end = listener.end_of(handle)
        told = listener.of(handle)
        assert {outcome.kind for outcome in told[:-1]} - {"accepted"} == {"started"}
        assert told[-1].kind == "ended"
        assert told[-2].started_at is not None
        assert end.started_at is not None
        assert abs((told[-2].started_at - end.started_at).total_seconds()) < 1

    def test_progress_is_told_while_the_task_runs(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """At most twice a second; metrics come with the end."""
        task = make_task("progress", params={"n_steps": 8, "step_s": 0.15})
        handle = submit(listener.executor, task)
        end = listener.end_of(handle)
        told = [o.progress for o in listener.of(handle) if o.kind == "progress" and o.progress]
        assert told
        assert told[0].message.startswith("第")
        assert len(told) <= 4
        assert [p.done for p in told] == sorted(p.done for p in told)
        assert end.metrics == {"steps": 8.0}

    def test_new_object_is_told_the_present_stage_of_everything(
        self, listener: Listener, make_task: Callable[..., Task], settings: ExecutorSettings
    ) -> None:
        """So does a restarted process find its tasks again."""
        ended = submit(listener.executor, make_task("ok"))
        running = submit(listener.executor, make_task("hang"))
        listener.end_of(ended)
        listener.wait_for(running, "started")
        with contextlib.closing(self.make_executor(settings)) as other:
            first = {outcome.attempt_id: outcome.kind for outcome in other.poll(5.0)}
        assert first[ended] == "ended"
        assert first[running] in ("accepted", "started")

    def test_task_goes_on_when_the_object_that_submitted_it_is_closed(
        self,
        listener: Listener,
        make_task: Callable[..., Task],
        settings: ExecutorSettings,
        tmp_path: Path,
    ) -> None:
        """Closing a client closes nothing else."""
        gate = tmp_path / "gate"
        first = self.make_executor(settings)
        handle = submit(first, make_task("ok", params={"gate": str(gate)}))
        first.close()
        gate.touch()
        assert listener.end_of(handle).state == "succeeded"

    def test_end_is_told_again_until_it_is_released(
        self, listener: Listener, make_task: Callable[..., Task], settings: ExecutorSettings
    ) -> None:
        """An end is lost by no death of the one who heard it."""
        handle = submit(listener.executor, make_task("ok"))
        end = listener.end_of(handle)
        for _ in range(2):
            with contextlib.closing(self.make_executor(settings)) as other:
                assert end in other.poll(5.0)
        listener.executor.release([handle])
        marker = submit(listener.executor, make_task("ok"))
        listener.end_of(marker)
        with contextlib.closing(self.make_executor(settings)) as other:
            assert handle not in [outcome.attempt_id for outcome in other.poll(5.0)]

    def test_poll_returns_nothing_in_time_when_nothing_happens(self, listener: Listener) -> None:
        """The time-out is kept."""
        while listener.poll(0.1):
            pass
        begun = time.monotonic()
        assert listener.poll(0.2) == []
        assert 0.1 < time.monotonic() - begun < 1.0

    # --- logs -------------------------------------------------------------------------------------

    def test_log_holds_what_python_c_and_subprocesses_wrote(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """Everything on stdout and stderr is kept."""
        handle = submit(listener.executor, make_task("speak"))
        listener.end_of(handle)
        chunk = listener.executor.read_log(handle, 0, 100_000)
        for part in ("第一行 one\n第二行 two\n", "子进程\n", "to stderr\n", "from C without"):
            assert part in chunk.text
        assert chunk.is_complete
        assert chunk.next_offset == chunk.size_bytes

    def test_log_is_read_in_pieces_without_cutting_a_character(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """The pieces put together are the whole, whatever their size."""
        task = make_task("speak", params={"text": "数据a处理é完成😀\n", "n_times": 40})
        handle = submit(listener.executor, task)
        listener.end_of(handle)
        whole = listener.executor.read_log(handle, 0, 1_000_000).text
        assert "\ufffd" not in whole
        pieces, offset = [], 0
        while True:
            chunk = listener.executor.read_log(handle, offset, 7)
            assert chunk.offset == offset
            pieces.append(chunk.text)
            offset = chunk.next_offset
            if chunk.is_complete:
                break
        assert "".join(pieces) == whole

    def test_log_can_be_followed_while_the_task_runs(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """It is complete only when the task has ended."""
        handle = submit(listener.executor, make_task("hang"))
        listener.wait_for(handle, "started")
        assert not listener.executor.read_log(handle, 0, 1000).is_complete

    def test_large_log_is_read_to_its_end(
        self, listener: Listener, make_task: Callable[..., Task]
    ) -> None:
        """Nothing blocks when nobody reads while it is written."""
        task = make_task("huge_log", params={"n_bytes": 4_000_000})
        handle = submit(listener.executor, task)
        end = listener.end_of(handle)
        assert end.state == "succeeded"
        size, offset = 0, 0
        while True:
            chunk = listener.executor.read_log(handle, offset, 1_000_000)
            size += len(chunk.text.encode())
            offset = chunk.next_offset
            if chunk.is_complete:
                break
        assert size == 4_000_000
        assert end.log_bytes == 4_000_000

    def test_log_of_an_unknown_attempt_is_an_error(self, listener: Listener) -> None:
        """Not an empty log."""
        with pytest.raises(UnknownAttemptError):
            listener.executor.read_log("rnever.0.1", 0, 100)

    # --- private folder ---------------------------------------------------------------------------

    @pytest.mark.parametrize("is_killed", [False, True])
    def test_private_folder_is_gone_after_the_end(
        self,
        listener: Listener,
        make_task: Callable[..., Task],
        ledger: Ledger,
        is_killed: bool,
    ) -> None:
        """Also when the worker died."""
        params = {"ledger": str(ledger.path), "is_killed": is_killed}
        handle = submit(listener.executor, make_task("uses_workdir", params=params))
        assert listener.end_of(handle).state == ("failed" if is_killed else "succeeded")
        folder = ledger.entries()[0][0]
        wait_until(lambda: not os.path.exists(folder), "removal of the private folder")
