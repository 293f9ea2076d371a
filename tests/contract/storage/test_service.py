"""Tokens, and the processes of the service."""

from __future__ import annotations

import datetime as dt

import pytest

from dag_engine.storage import leader as leaders
from dag_engine.storage import tokens
from dag_engine.storage.database import Database
from dag_engine.storage.errors import NotFoundError


def test_a_token_is_found_by_its_hash_until_it_is_revoked(database: Database) -> None:
    added = tokens.add_token(database, "a" * 64, role="admin", name="小王", namespace="b")
    assert (added.role, added.name, added.namespace) == ("admin", "小王", "b")
    assert tokens.load_tokens(database) == {"a" * 64: added}
    assert tokens.list_digests(database) == ["a" * 64]
    revoked = tokens.revoke_token(database, added.id)
    assert revoked.revoked_at is not None
    assert tokens.revoke_token(database, added.id) == revoked
    assert tokens.load_tokens(database) == {}
    assert tokens.list_digests(database) == []
    assert tokens.list_tokens(database, namespace="b") == [revoked]
    assert tokens.list_tokens(database, namespace="c") == []
    with pytest.raises(NotFoundError):
        tokens.revoke_token(database, "t-unknown")


def test_tokens_are_told_apart_by_the_exact_case_of_their_hashes(database: Database) -> None:
    small = tokens.add_token(database, "a" * 64, role="viewer")
    assert "A" * 64 not in tokens.load_tokens(database)
    large = tokens.add_token(database, "A" * 64, role="admin")
    assert tokens.load_tokens(database) == {"a" * 64: small, "A" * 64: large}


def test_an_expired_token_is_no_good(database: Database) -> None:
    now = dt.datetime.now(dt.UTC)
    hour = dt.timedelta(hours=1)
    tokens.add_token(database, "a" * 64, role="viewer", expires_at=now - hour)
    tokens.add_token(database, "b" * 64, role="viewer", expires_at=now + hour)
    assert tokens.list_digests(database) == ["b" * 64]
    assert set(tokens.load_tokens(database)) == {"a" * 64, "b" * 64}, "it was not revoked"
    assert len(tokens.list_tokens(database)) == 2


def test_components_are_listed_with_the_age_of_their_heartbeat(database: Database) -> None:
    leaders.beat(database, "api", "one", host="主机", pid=42, version="0.1.0", detail={"n": 1})
    leaders.beat(database, "api", "two")
    leaders.beat(database, "api", "one", pid=43)
    one, two = leaders.list_components(database)
    assert (one.instance, one.pid, one.host) == ("one", 43, "")
    assert two.instance == "two"
    assert 0.0 <= one.age_s < 30.0
    assert one.heartbeat_at >= one.started_at
    leaders.drop_component(database, "api", "one")
    assert leaders.prune_components(database, older_than_s=3600, kind="api") == 0
    assert [component.instance for component in leaders.list_components(database)] == ["two"]
    assert leaders.prune_components(database, older_than_s=-10) == 0
    assert leaders.prune_components(database, older_than_s=-10, kind="api") == 1


def test_the_databases_clock_is_utc(database: Database) -> None:
    difference = leaders.read_clock(database) - dt.datetime.now(dt.UTC)
    assert abs(difference.total_seconds()) < 60.0
