"""A real pool supervisor for tests: started, killed, restarted, and nothing left behind."""

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from executors.base import ExecutorSettings, Outcome, Task
from executors.contract_tools import Listener, wait_until
from executors.local import proctree
from executors.local.client import LocalExecutor, is_pool_reachable
from executors.local.launch import supervisor_command

ROOT = Path(__file__).parents[2]
FAULT_OPERATORS = str(Path(__file__).with_name("fault_operators.py"))
_indexes = itertools.count(1)


class PoolProcess:
    def __init__(self, settings: ExecutorSettings, options: dict[str, Any], name: str) -> None:
        self.settings = settings
        self.options = options
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        command = supervisor_command(self.name, self.options, self.settings)
        # Unbuffered output would hide what a worker forgets to flush.
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
        with open(os.path.join(self.settings.home, "supervisor.log"), "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stderr=log
            )
        wait_until(lambda: is_pool_reachable(self.settings.home, self.name), "pool's start")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)

    def make_client(self) -> LocalExecutor:
        return LocalExecutor(self.name, self.options, self.settings)

    def log_text(self) -> str:
        return Path(self.settings.home, "supervisor.log").read_text()

    def remains(self) -> list[int]:
        """Processes of this pool, apart from its supervisor if that runs."""
        marker = f"DAGENGINE_POOL={self.settings.home}/run/pool-{self.name}.sock"
        arguments = [
            "executors.local.supervisor",
            f"{self.settings.home}/run/pool-{self.name}.json",
        ]
        return [pid for pid in proctree.find_marked(marker, arguments) if pid != self.pid]


@contextlib.contextmanager
def run_pool(
    settings: ExecutorSettings, options: dict[str, Any] | None = None, name: str = "local"
) -> Iterator[PoolProcess]:
    pool = PoolProcess(settings, {"preload": [], **(options or {})}, name)
    pool.start()
    try:
        yield pool
    finally:
        if pool.process is not None and pool.process.poll() is None:
            pool.stop()
        remains = pool.remains()
        for pid in remains:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert remains == []


Pools = Callable[..., PoolProcess]
Listen = Callable[[PoolProcess], Listener]


def make_task(operator: str, **fields: Any) -> Task:
    """Make a task of a fault operator, of a run that all tasks of these tests belong to."""
    index = next(_indexes)
    return Task(
        attempt_id=f"rpool.{index}.1",
        run_id="rpool",
        operator=operator,
        index=index,
        attempt=1,
        algorithm=operator,
        entry=f"{FAULT_OPERATORS}:{operator}",
        n_outputs=1,
        folder="file:///nowhere",
        **fields,
    )


def first_told(pool: PoolProcess) -> dict[str, Outcome]:
    """Give what a client that is new is told first, by attempt."""
    with contextlib.closing(pool.make_client()) as client:
        return {outcome.attempt_id: outcome for outcome in client.poll(2.0)}
