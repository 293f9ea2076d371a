from collections.abc import Iterator
from pathlib import Path

import pytest

from dag_engine.config import DatabaseConfig
from dag_engine.storage.database import Database
from dag_engine.storage.migrate import upgrade_database
from tests.support.engine_stand_in import EngineStandIn
from tests.support.scheduler_rig import SchedulerRig, StartEngine, StartScheduler


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/dagengine.db", DatabaseConfig())
    upgrade_database(database)
    yield database
    database.engine.dispose()


@pytest.fixture
def start_scheduler(database: Database, tmp_path: Path) -> Iterator[StartScheduler]:
    rigs: list[SchedulerRig] = []

    def start(**changes) -> SchedulerRig:
        rigs.append(SchedulerRig(database, tmp_path, **changes).start())
        return rigs[-1]

    yield start
    for rig in rigs:
        if rig._thread.is_alive():
            rig.close()


@pytest.fixture
def start_engine() -> Iterator[StartEngine]:
    engines: list[EngineStandIn] = []

    def start(rig: SchedulerRig, engine_id: str = "e1", **changes) -> EngineStandIn:
        engine = EngineStandIn(rig.url, engine_id, marker="marker")
        engine.sealing_key = changes.pop("sealing_key", "")
        engines.append(engine)
        engine.register(**changes)
        return engine

    yield start
    for engine in engines:
        engine.close()
