import sqlite3

import pytest

from tests.support.attempts import Workshop

READ = "algorithms.source.algo_read_sql_table"


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path / "home")


@pytest.fixture
def connections(tmp_path):
    path = tmp_path / "warehouse.db"
    with sqlite3.connect(path) as database:
        database.execute('create table loans (id integer, "城市" text, "a""b" real)')
        rows = [(n, "北京" if n % 2 else None, n / 2) for n in range(25_000)]
        database.executemany("insert into loans values (?, ?, ?)", rows)
        database.execute("create view small as select id from loans where id < 3")
        database.execute("create table mixed (x)")
        database.execute("insert into mixed values (1), ('a')")
    database.close()
    return {"warehouse": {"url": f"sqlite:///{path}"}}


def read(workshop, connections, table, **params):
    params = {"connection": "warehouse", "table": table, **params}
    return workshop.run(READ, params, connections=connections)


def test_a_table_is_read_whole_with_its_types(workshop, connections):
    outcome = read(workshop, connections, "loans")
    frame = workshop.load(outcome.outputs[0])
    assert frame.shape == (25_000, 3)
    assert list(frame.columns) == ["id", "城市", 'a"b']
    assert frame['a"b'].sum() == sum(range(25_000)) / 2
    assert frame["城市"].isna().sum() == 12_500
    assert outcome.progress.done == 25_000


def test_columns_and_rows_can_be_limited(workshop, connections):
    outcome = read(workshop, connections, "loans", columns=["城市", "id"], limit=2)
    frame = workshop.load(outcome.outputs[0])
    assert frame["id"].tolist() == [0, 1]
    assert list(frame.columns) == ["城市", "id"]


def test_views_are_read(workshop, connections):
    frame = workshop.load(read(workshop, connections, "small").outputs[0])
    assert frame["id"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("table", "params", "said"),
    [
        ("loans; drop table loans", {}, "has no table"),
        ("Loans", {}, "has no table 'Loans'"),
        ("loans", {"columns": ["id) from loans; --"]}, "does not have"),
        ("loans", {"columns": []}, "no column"),
        ("mixed", {}, "values of several types"),
    ],
)
def test_names_that_the_database_does_not_list_are_refused(
    workshop, connections, table, params, said
):
    outcome = read(workshop, connections, table, **params)
    assert outcome.reason == "invalid_input"
    assert said in outcome.message
    assert outcome.hint


def test_a_connection_that_is_not_there_or_not_understood_is_named(workshop, tmp_path):
    assert "no connection 'warehouse'" in read(workshop, {}, "loans").message
    odd = {"warehouse": {"url": "nonsense"}}
    assert "settings of connection 'warehouse'" in read(workshop, odd, "loans").message
    gone = {"warehouse": {"url": f"sqlite:///{tmp_path}/no/such.db"}}
    assert "cannot be read" in read(workshop, gone, "loans").message
    secret = {"warehouse": {"url": "mysql+pymysql://root:secret@127.0.0.1:1/x"}}
    outcome = read(workshop, secret, "loans")
    assert outcome.reason == "invalid_input"
    assert "secret" not in outcome.message


def test_settings_may_come_in_parts(workshop, connections):
    path = connections["warehouse"]["url"].removeprefix("sqlite:///")
    parts = {"warehouse": {"drivername": "sqlite", "database": path}}
    assert read(workshop, parts, "small").state == "succeeded"
