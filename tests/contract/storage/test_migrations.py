"""Migrations, metadata and schema files give the same tables; upgrades are safe to repeat."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dag_engine.config import Config, DatabaseConfig
from dag_engine.core.plan import Plan, Reused
from dag_engine.storage import migrate, preflight, runs, schema, secrets, tables
from dag_engine.storage.database import Database, open_database
from dag_engine.storage.errors import DatabaseSettingsError, SchemaOutdatedError
from dag_engine.storage.secret_rows import SealedValue, SecretPlace
from tests.support import databases
from tests.support.stored_samples import accept_sample_run, make_plan


@pytest.fixture(params=databases.DIALECTS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Three empty databases of one kind."""
    if request.param == "sqlite":
        yield [f"sqlite:///{tmp_path / f'{i}.db'}" for i in range(3)]
        return
    with (
        databases.fresh_mysql_url() as first,
        databases.fresh_mysql_url() as second,
        databases.fresh_mysql_url() as third,
    ):
        yield [first, second, third]


def describe(database: Database) -> dict[str, str]:
    """Tell of every table and index how the database itself would make it."""
    with database.engine.connect() as connection:
        if database.dialect == "sqlite":
            rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all()
            return {name: " ".join((sql or "").split()) for name, sql in rows}
        names = connection.exec_driver_sql("SHOW TABLES").scalars().all()
        made = {n: connection.exec_driver_sql(f"SHOW CREATE TABLE {n}").one()[1] for n in names}
        # The order of indexes means nothing.
        return {n: "\n".join(sorted(s.replace(",\n", "\n").splitlines())) for n, s in made.items()}


def run_script(database: Database, script: str) -> None:
    raw = database.connector.connect(is_multi=True)
    if isinstance(raw, sqlite3.Connection):
        raw.executescript(script)
    else:
        with raw.cursor() as cursor:
            cursor.execute(script)
            while cursor.nextset():
                pass
    raw.close()


def test_migrations_metadata_and_schema_file_give_the_same_tables(urls: list[str]) -> None:
    opened = [Database(url, DatabaseConfig()) for url in urls]
    migrated, created, scripted = opened
    with migrated.engine.connect() as connection:
        migrate.run_migrations(connection)
    with created.engine.connect() as connection:
        tables.metadata.create_all(connection)
    file = schema.sql_folder() / f"schema.{scripted.dialect}.sql"
    run_script(scripted, file.read_text(encoding="utf-8"))
    found = [describe(database) for database in opened]
    revision = found[0].pop("alembic_version")
    assert found[2].pop("alembic_version") == revision
    for database in found:
        database.pop("sqlite_autoindex_alembic_version_1", None)
    assert found[0] == found[1]
    assert found[0] == found[2]
    assert set(tables.metadata.tables) <= set(found[0])
    assert all(schema.is_schema_current(database) for database in (migrated, scripted))
    for database in opened:
        database.close()


def test_the_schema_files_are_up_to_date(tmp_path: Path) -> None:
    for written in migrate.write_schema_files(tmp_path):
        stored = schema.sql_folder() / written.name
        assert written.read_text(encoding="utf-8") == stored.read_text(encoding="utf-8"), (
            "run `python -m dag_engine.storage.migrate`"
        )


def test_the_revision_that_the_program_needs_is_the_newest_migration() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert script.get_current_head() == schema.SCHEMA_REVISION


def test_every_table_bears_its_namespace() -> None:
    assert [t.name for t in tables.metadata.sorted_tables if "namespace" not in t.c] == []


def test_an_upgrade_makes_all_tables_and_may_be_repeated(urls: list[str], tmp_path: Path) -> None:
    config = Config(home=tmp_path, database=DatabaseConfig(url=urls[0]))
    assert migrate.check(config) == ("", schema.SCHEMA_REVISION)
    assert not migrate.upgrade(config).is_current
    assert migrate.upgrade(config).is_current
    database = open_database(config)
    assert preflight.check_ready(database) == []
    database.close()


UPGRADE = """
import sys
from pathlib import Path
from dag_engine.config import Config, DatabaseConfig
from dag_engine.storage import migrate
migrate.upgrade(Config(home=Path("."), database=DatabaseConfig(url=sys.argv[1])))
"""


def test_upgrades_at_once_make_the_tables_once(urls: list[str]) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, urls[0]], stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=50)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    database = Database(urls[0], DatabaseConfig())
    assert schema.is_schema_current(database)
    database.close()


def test_a_database_without_tables_or_of_a_newer_program_is_refused(urls: list[str]) -> None:
    database = Database(urls[0], DatabaseConfig(url=urls[0]))
    with pytest.raises(SchemaOutdatedError, match=r"no tables yet.*dagengine db upgrade"):
        preflight.check_ready(database)
    migrate.upgrade_database(database)
    database.run_txn(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num='9999'"))
    with pytest.raises(SchemaOutdatedError, match="9999"):
        preflight.check_ready(database)
    with pytest.raises(SchemaOutdatedError, match="newest program"):
        migrate.upgrade_database(database)
    database.close()


@pytest.mark.mysql
def test_a_missing_database_is_named_and_made_by_the_upgrade(tmp_path: Path) -> None:
    with databases.fresh_mysql_url() as url:
        server = databases.connect_server()
        name = url.rpartition("/")[2]
        server.query(f"DROP DATABASE {name}")
        server.close()
        config = Config(home=tmp_path, database=DatabaseConfig(url=url))
        database = open_database(config)
        with pytest.raises(DatabaseSettingsError, match="no database"):
            preflight.check_settings(database)
        database.close()
        assert migrate.check(config).found == ""
        migrate.upgrade(config)
        assert migrate.check(config).is_current


@pytest.mark.mysql
def test_a_half_made_schema_is_called_by_its_name(tmp_path: Path) -> None:
    with databases.fresh_mysql_url() as url:
        database = Database(url, DatabaseConfig(url=url))
        database.run_txn(lambda c: c.exec_driver_sql("CREATE TABLE dags (x INT)"))
        with pytest.raises(DatabaseSettingsError, match="half made"):
            migrate.upgrade_database(database)
        database.close()


@pytest.mark.mysql
def test_a_wrong_password_is_called_by_its_name(tmp_path: Path) -> None:
    with databases.fresh_mysql_url() as url:
        wrong = url.replace("://", "://nobody:wrong@", 1).replace("@root@", "@", 1)
        database = Database(wrong, DatabaseConfig(url=wrong))
        with pytest.raises(DatabaseSettingsError, match="Check user, password"):
            preflight.check_settings(database)
        database.close()


def test_a_migration_that_fails_on_sqlite_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = databases.open_migrated(databases.sqlite_url(tmp_path))
    database.run_txn(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num='0000'"))
    before = describe(database)

    def fail(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (x INTEGER)")
        connection.exec_driver_sql("CREATE TABLE half (x INTEGER)")

    monkeypatch.setattr(migrate, "run_migrations", fail)
    with pytest.raises(sa.exc.OperationalError, match="already exists"):
        migrate.upgrade_database(database)
    assert describe(database) == before
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()


def test_the_upgrade_from_the_first_tables_keeps_what_is_there(urls: list[str]) -> None:
    from alembic import command

    database = Database(urls[0], DatabaseConfig(url=urls[0]))
    with database.engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection=connection), "0001")
    assert schema.read_state(database) == ("0001", schema.SCHEMA_REVISION)
    run = accept_sample_run(database)
    assert not migrate.upgrade_database(database).is_current
    assert schema.is_schema_current(database)
    assert runs.get_run(database, "default", run.id) == run
    place = SecretPlace("default", "secret", "键")
    value = SealedValue(place=place, key_id="k", sealed=b"\0\xff")
    secrets.put_secret(database, value)
    assert secrets.load_sealed(database, [place]) == {place: value}
    database.close()


def test_the_upgrade_notes_what_runs_of_a_part_stand_on(urls: list[str]) -> None:
    from alembic import command

    database = Database(urls[0], DatabaseConfig(url=urls[0]))
    with database.engine.connect() as connection:
        command.upgrade(migrate.alembic_config(connection=connection), "0005")
    bases = [accept_sample_run(database).id for _ in range(2)]
    reused = [
        Reused(operator=operator, run_id=base, attempt=1, outputs=[])
        for operator, base in zip("abc", [*bases, bases[0]], strict=True)
    ]
    plan = Plan(tasks=make_plan(1).tasks, reused=reused)
    run_id = accept_sample_run(database, plan=plan, range_mode="from").id
    accept_sample_run(database, range_mode="only")
    needs = tables.run_needs
    one = needs.delete().where(needs.c.source_run == bases[1])
    for forget in (needs.delete(), one):  # as the former program had it; as an upgrade broken off
        database.run_txn(lambda c, forget=forget: c.execute(forget))
        database.run_txn(
            lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num='0005'")
        )
        migrate.upgrade_database(database)
        found = database.read(lambda c: c.execute(sa.select(needs)).all())
        assert sorted((row.run_id, row.source_run, row.namespace) for row in found) == [
            (run_id, base, "default") for base in sorted(bases)
        ]
    database.close()
