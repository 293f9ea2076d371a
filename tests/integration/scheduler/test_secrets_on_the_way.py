"""Connections and secrets on their way to an engine: sealed, late, and in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path

import msgspec
import pytest

from dag_engine.config import Config
from dag_engine.storage import tasks as stored_tasks
from dag_engine.storage.database import Database
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.secret_rows import SecretPlace
from dag_engine.storage.vault import Opened, Vault
from executors.errors import SealError
from executors.sealing import make_private_key, open_task, public_key_of, seal_task
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SchedulerRig, StartEngine, StartScheduler
from tests.support.waiting import wait_until

SECRET = "Kanarienvogel-4711"
URL = f"mysql+pymysql://root:{SECRET}@db/bank"


@pytest.fixture
def vault(database: Database, tmp_path: Path) -> Vault:
    config = Config(home=tmp_path, connections={"configured": {"url": URL}})
    vault = Vault(config, lambda: database)
    vault.put(SecretPlace("default", "secret", "api_key"), SECRET, created_by="")
    return vault


def message_of(rig: SchedulerRig, run_id: str, operator: str = "a") -> str:
    return stored_tasks.get_task(rig.database, "default", run_id, operator).reason


def test_what_is_sent_opens_for_this_engine_and_this_attempt_alone(
    start_scheduler: StartScheduler, start_engine: StartEngine, vault: Vault, database: Database
) -> None:
    rig = start_scheduler(open_secrets=vault.open)
    private = make_private_key()
    engine = start_engine(rig, sealing_key=public_key_of(private))
    run_id = rig.accept("a", connections=["configured"], secrets=["api_key"])
    [item] = engine.wait_for(f"{run_id}.0.1")
    assert (item.task.connections, item.task.secrets) == ({}, {})
    assert SECRET not in msgspec.json.encode(item).decode()
    opened = open_task(item.task, private)
    assert opened.connections == {"configured": {"url": URL}}
    assert opened.secrets == {"api_key": SECRET}
    assert opened.sealed == ""
    with pytest.raises(SealError, match="another key"):
        open_task(item.task, make_private_key())
    with pytest.raises(SealError, match="another attempt"):
        open_task(msgspec.structs.replace(item.task, attempt_id=f"{run_id}.0.2"), private)
    with pytest.raises(SealError):
        open_task(msgspec.structs.replace(item.task, sealed=item.task.sealed[:-8]), private)
    engine.report(ended(f"{run_id}.0.1"))
    rig.wait_state(run_id, "succeeded")


def test_a_retry_gets_the_newest_value(
    start_scheduler: StartScheduler, start_engine: StartEngine, vault: Vault
) -> None:
    rig = start_scheduler(open_secrets=vault.open)
    private = make_private_key()
    engine = start_engine(rig, sealing_key=public_key_of(private))
    run_id = rig.accept("a", secrets=["api_key"], retries=1, retry_on=["error"], retry_delay_s=0.0)
    engine.wait_for(f"{run_id}.0.1")
    vault.put(SecretPlace("default", "secret", "api_key"), "a new one", created_by="")
    engine.report(ended(f"{run_id}.0.1", "failed"))
    [item] = engine.wait_for(f"{run_id}.0.2")
    assert open_task(item.task, private).secrets == {"api_key": "a new one"}


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        ("delete", "dagengine secrets add api_key"),
        ("lose", "no key file"),
        ("open", "chmod 600"),
        ("exchange", "sealed with key"),
        ("engine", "no sound sealing key"),
    ],
)
def test_only_what_needs_a_secret_fails_and_says_why(
    start_scheduler: StartScheduler,
    start_engine: StartEngine,
    vault: Vault,
    tmp_path: Path,
    spoil: str,
    named: str,
) -> None:
    key = tmp_path / "secret.key"
    if spoil == "delete":
        vault.delete(SecretPlace("default", "secret", "api_key"))
    elif spoil in ("lose", "exchange"):
        key.unlink()
    elif spoil == "open":
        key.chmod(0o644)
    if spoil == "exchange":
        from dag_engine.storage import keys

        keys.make_key_file(Config(home=tmp_path))
    rig = start_scheduler(open_secrets=vault.open)
    public = "" if spoil == "engine" else public_key_of(make_private_key())
    engine = start_engine(rig, sealing_key=public)
    needing = rig.accept("a", secrets=["api_key"])
    plain = rig.accept("a")
    rig.wait_state(needing, "failed")
    assert named in message_of(rig, needing)
    assert SECRET not in message_of(rig, needing)
    engine.wait_for(f"{plain}.0.1")
    engine.report(ended(f"{plain}.0.1"))
    rig.wait_state(plain, "succeeded")
    assert f"{needing}.0.1" not in engine.items


def test_a_run_of_another_namespace_does_not_get_it(
    start_scheduler: StartScheduler, start_engine: StartEngine, vault: Vault
) -> None:
    asked: list[str] = []

    def look(namespace: str, connections: Collection[str], secrets: Collection[str]) -> Opened:
        asked.append(namespace)
        return vault.open("team", connections, secrets)

    rig = start_scheduler(open_secrets=look)
    start_engine(rig, sealing_key=public_key_of(make_private_key()))
    run_id = rig.accept("a", connections=["configured"])
    rig.wait_state(run_id, "failed")
    assert asked == ["default"]
    assert "'team' cannot be opened" in message_of(rig, run_id)


def test_a_database_that_is_away_is_waited_for_and_holds_nobody_else_up(
    start_scheduler: StartScheduler, start_engine: StartEngine, vault: Vault
) -> None:
    is_away = threading.Event()
    is_away.set()
    n_tries: list[int] = []

    def open_later(
        namespace: str, connections: Collection[str], secrets: Collection[str]
    ) -> Opened:
        n_tries.append(1)
        if is_away.is_set():
            raise DatabaseUnavailableError("the test has taken it away")
        return vault.open(namespace, connections, secrets)

    rig = start_scheduler(open_secrets=open_later)
    engine = start_engine(rig, sealing_key=public_key_of(make_private_key()))
    needing = rig.accept("a", secrets=["api_key"])
    wait_until(lambda: len(n_tries) >= 2)
    plain = rig.accept("a")
    engine.wait_for(f"{plain}.0.1")
    engine.report(ended(f"{plain}.0.1"))
    rig.wait_state(plain, "succeeded")
    assert f"{needing}.0.1" not in engine.items
    is_away.clear()
    engine.wait_for(f"{needing}.0.1")


def test_tasks_without_secrets_start_no_courier(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    assert "courier" not in [thread.name for thread in threading.enumerate()]


def test_a_task_is_sealed_differently_each_time(vault: Vault) -> None:
    from tests.support.engine_rig import make_task

    task = msgspec.structs.replace(make_task(1), secrets={"a": SECRET})
    public = public_key_of(make_private_key())
    assert seal_task(task, public).sealed != seal_task(task, public).sealed
