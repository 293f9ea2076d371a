from dag_engine.core.nearest import NameFinder, hint_nearest


def test_the_nearest_names_come_first():
    known = ["operator_list", "operator_rels", "params"]
    assert NameFinder().find("operator_rel", known)[0] == "operator_rels"
    assert NameFinder().find("PARAMS", known) == ["params"]


def test_nothing_is_suggested_for_what_is_like_nothing():
    assert NameFinder().find("xyz", ["operator_list"]) == []
    assert NameFinder().find("", ["a"]) == []
    assert NameFinder().find("x" * 10_000, ["x" * 10_000]) == []
    assert hint_nearest([], "See there.") == "See there."


def test_a_finder_stops_when_its_budget_is_spent():
    finder = NameFinder(budget=1)
    assert finder.find("abc", ["abcd", "abce"]) == ["abcd"]
    assert finder.find("abd", ["abcd"]) == []
