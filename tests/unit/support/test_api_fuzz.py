from typing import Any

import pytest

from tests.support.api_fuzz import loses_its_query


@pytest.mark.parametrize("query", [{"state": ""}, {"state": "", "limit": {}}, {"limit": None}])
def test_empty_values_are_lost_on_their_way(query: dict[str, Any]) -> None:
    assert loses_its_query(query)


@pytest.mark.parametrize("query", [{}, None, {"limit": 0}, {"limit": False}, {"state": "", "x": 1}])
def test_what_says_something_is_judged(query: dict[str, Any] | None) -> None:
    assert not loses_its_query(query)
