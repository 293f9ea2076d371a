"""The probe of the campaigns sees everything, whatever breaks off its looks."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from dag_engine.storage import tables
from dag_engine.storage.errors import DatabaseUnavailableError
from tests.support.chaos.probe import Probe, Seen
from tests.support.databases import open_migrated
from tests.support.stored_samples import accept_sample_run


def test_look_that_breaks_off_is_repeated_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_migrated(f"sqlite:///{tmp_path / 'd.db'}")
    run_ids = {accept_sample_run(database).id for _ in range(2)}
    moved = tables.runs.update().values(last_seq=1)
    database.run_txn(lambda connection: connection.execute(moved))
    read: list[str] = []

    def read_events(connection: sa.Connection, run_id: str, seq: int) -> list[tuple[int, Seen]]:
        del connection, seq
        read.append(run_id)
        if len(read) == 2:
            raise DatabaseUnavailableError("killed")
        return [(1, Seen(0.0, "event", attempt_id=run_id, state="running"))]

    monkeypatch.setattr(Probe, "_read_events", staticmethod(read_events))
    probe = Probe(lambda: database, tmp_path / "client.txt")

    with pytest.raises(DatabaseUnavailableError):
        database.read(probe._look)
    seen, heads = database.read(probe._look)

    database.close()
    assert {one.attempt_id for one in seen} == run_ids
    assert heads == dict.fromkeys(run_ids, 1)
