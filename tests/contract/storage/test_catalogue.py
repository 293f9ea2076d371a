"""What operator engines offer, together."""

from __future__ import annotations

import pytest

from dag_engine.storage import catalogue, engines
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.base import ExecutorOffer
from tests.support.stored_samples import make_offer, make_registration


def test_before_any_registration_nothing_is_offered(database: Database) -> None:
    loaded = catalogue.load_catalogue(database)
    assert (loaded.revision, loaded.algorithms, loaded.executors) == ("0", {}, {})


def test_a_registration_is_shown_and_offered(database: Database, leader: SchedulerStore) -> None:
    registration = make_registration()
    leader.save_registration(registration)
    loaded = catalogue.load_catalogue(database)
    assert loaded.algorithms == {"algo_one": registration.algorithms[0]}
    assert loaded.executors == {"local": registration.executors[0]}
    assert loaded.data_types == {"本地python": "local", "local": "local"}
    assert loaded.revision == catalogue.read_revision(database) != "0"
    [engine] = engines.list_engines(database)
    assert (engine.id, engine.host, engine.labels) == ("engine-1", "主机", {"zone": "甲"})
    assert engine.executors == registration.executors
    [executor] = engines.list_executors(database)
    assert (executor.engine_id, executor.offer.slots, executor.is_alive) == ("engine-1", 4, True)
    [stored] = leader.load_engines()
    assert b"algo_one" not in stored.registration
    assert b"inventory" not in stored.registration


def test_an_unchanged_catalogue_keeps_its_revision(
    database: Database, leader: SchedulerStore
) -> None:
    leader.save_registration(make_registration())
    before = catalogue.read_revision(database)
    leader.save_registration(make_registration(incarnation="two"))
    assert catalogue.read_revision(database) == before
    assert engines.get_engine(database, "engine-1").incarnation == "two"


def test_what_an_engine_no_longer_offers_is_dropped(
    database: Database, leader: SchedulerStore
) -> None:
    leader.save_registration(make_registration(algorithms=[make_offer("a"), make_offer("b")]))
    changed = make_registration(algorithms=[make_offer("b")], catalogue_digest="digest-2")
    leader.save_registration(changed)
    assert list(catalogue.load_catalogue(database).algorithms) == ["b"]


def test_of_two_offers_that_which_came_last_holds(
    database: Database, leader: SchedulerStore
) -> None:
    old, new = make_offer(code_version="1+old"), make_offer(code_version="2+new")
    leader.save_registration(make_registration("z-engine", algorithms=[old]))
    leader.save_registration(make_registration("a-engine", algorithms=[new]))
    assert catalogue.load_catalogue(database).algorithms["algo_one"].code_version == "2+new"
    # A mere restart of the other engine brings nothing new.
    leader.save_registration(make_registration("z-engine", algorithms=[old], incarnation="two"))
    assert catalogue.load_catalogue(database).algorithms["algo_one"].code_version == "2+new"


def test_a_catalogue_outlives_its_engine_but_not_its_deregistration(
    database: Database, leader: SchedulerStore
) -> None:
    leader.save_registration(make_registration("one"))
    other = make_registration(
        "two",
        algorithms=[make_offer("only_two")],
        executors=[ExecutorOffer(name="ray", data_types=["ray"])],
    )
    leader.save_registration(other)
    leader.deregister_engine("two")
    loaded = catalogue.load_catalogue(database)
    assert list(loaded.algorithms) == ["algo_one"]
    assert list(loaded.executors) == ["local"]
    assert [engine.id for engine in engines.list_engines(database)] == ["one"]
    assert [e.id for e in engines.list_engines(database, has_deregistered=True)] == ["one", "two"]
    assert [engine.engine_id for engine in leader.load_engines()] == ["one"]
    leader.save_registration(other)
    assert "only_two" in catalogue.load_catalogue(database).algorithms
    assert len(leader.load_engines()) == 2


def test_an_unknown_engine_is_not_found(database: Database) -> None:
    with pytest.raises(NotFoundError):
        engines.get_engine(database, "nobody")
