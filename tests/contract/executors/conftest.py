"""Pools with a real supervisor, and clients that listen to them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from executors.base import ExecutorSettings
from executors.contract_tools import Ledger, Listener
from tests.support.pool_process import Listen, Pools, run_pool

pytest.register_assert_rewrite("executors.contract")


@pytest.fixture
def settings(tmp_path: Path) -> ExecutorSettings:
    return ExecutorSettings(
        home=str(tmp_path), logs=str(tmp_path / "logs"), store_url=f"file://{tmp_path}/store"
    )


@pytest.fixture
def start_pool(settings: ExecutorSettings) -> Iterator[Pools]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(run_pool(settings, options))


@pytest.fixture
def listen() -> Iterator[Listen]:
    with contextlib.ExitStack() as stack:
        yield lambda pool: Listener(stack.enter_context(contextlib.closing(pool.make_client())))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")
