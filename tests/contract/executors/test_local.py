import contextlib
from collections.abc import Iterator

from executors.base import BaseExecutor, ExecutorSettings
from executors.contract import ExecutorContract
from executors.local.client import LocalExecutor
from tests.support.pool_process import FAULT_OPERATORS, run_pool

OPTIONS = {"preload": [], "workers": 4}


class TestLocalExecutor(ExecutorContract):
    fault_operators = FAULT_OPERATORS

    @classmethod
    def make_executor(cls, settings: ExecutorSettings) -> BaseExecutor:
        return LocalExecutor("local", OPTIONS, settings)

    @classmethod
    @contextlib.contextmanager
    def run_backend(cls, settings: ExecutorSettings) -> Iterator[None]:
        with run_pool(settings, OPTIONS):
            yield
