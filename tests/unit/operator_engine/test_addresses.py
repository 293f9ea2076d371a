"""An address is used until it fails; then the next one, and after the last the first again."""

from __future__ import annotations

from operator_engine.addresses import DagEngineAddresses


def test_addresses_take_turns_when_they_fail() -> None:
    addresses = DagEngineAddresses("http://a:1/, http://b:2,")
    used = []
    for _ in range(3):
        used.append(addresses.current)
        addresses.give_up(addresses.current)
    assert used == ["http://a:1", "http://b:2", "http://a:1"]


def test_two_callers_that_fail_at_the_same_address_skip_none() -> None:
    addresses = DagEngineAddresses("http://a:1,http://b:2,http://c:3")
    addresses.give_up("http://a:1")
    addresses.give_up("http://a:1")
    assert addresses.current == "http://b:2"


def test_one_address_is_kept_whatever_happens() -> None:
    addresses = DagEngineAddresses("http://a:1")
    addresses.give_up("http://a:1")
    assert addresses.current == "http://a:1"
