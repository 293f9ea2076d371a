import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dag_engine.core.graph import (
    MAX_ALTERNATIVES,
    add_alternatives,
    build_graph,
    find_cycles,
    follow_alternatives,
    order_breadth_first,
    select_range,
)

#      a   b
#      |\ /
#      c d
#      |/|
#      e f      g
DIAMOND = build_graph(
    "abcdefg",
    [("a", "c"), ("a", "d"), ("b", "d"), ("c", "e"), ("d", "e"), ("d", "f")],
)


def test_breadth_first_order_goes_level_by_level():
    assert order_breadth_first(DIAMOND) == ["a", "b", "g", "c", "d", "e", "f"]


def test_a_node_waits_for_the_longest_way():
    graph = build_graph("abcd", [("a", "d"), ("a", "b"), ("b", "c"), ("c", "d")])
    assert order_breadth_first(graph) == ["a", "b", "c", "d"]


def test_several_edges_between_two_nodes_count_once():
    graph = build_graph("ab", [("a", "b"), ("a", "b")])
    assert graph.below["a"] == ["b"]
    assert order_breadth_first(graph) == ["a", "b"]


@pytest.mark.parametrize(
    ("word", "operators", "expected"),
    [
        ("all", [], "abcdefg"),
        ("from", ["d"], "def"),
        ("from", ["c", "b"], "bcdef"),
        ("to", ["e"], "abcde"),
        ("to", ["g"], "g"),
        ("only", ["d", "a"], "ad"),
        ("children", ["a"], "cdef"),
        ("children", ["a", "c"], "cdef"),
        ("children", ["e"], ""),
        ("failed", [], "df"),
    ],
)
def test_ranges(word, operators, expected):
    assert select_range(DIAMOND, word, operators, unfinished={"d", "f"}) == set(expected)


# x stands in for c; its input comes from b. y would stand in for x.
RESCUED = build_graph("abcdexy", [("a", "c"), ("b", "x"), ("c", "d"), ("d", "e"), ("b", "y")])


@pytest.mark.parametrize(
    ("word", "operators", "unfinished", "expected"),
    [
        ("from", ["c"], [], "cdexy"),
        ("from", ["a"], [], "acdexy"),
        ("from", ["b"], [], "b"),
        ("from", ["d"], [], "de"),
        ("to", ["c"], [], "abcxy"),
        ("to", ["x"], [], "bxy"),
        ("only", ["c"], [], "c"),
        ("only", ["x"], [], "x"),
        ("children", ["b"], [], ""),
        ("children", ["a"], [], "cdexy"),
        ("failed", [], "cde", "cdexy"),
        ("failed", [], "dexy", "de"),
    ],
)
def test_an_alternative_comes_with_its_operator(word, operators, unfinished, expected):
    chosen = select_range(
        RESCUED, word, operators, unfinished=unfinished, alternatives={"c": "x", "x": "y"}
    )
    assert chosen == set(expected)


def test_an_alternative_stands_after_its_operator_and_before_what_it_feeds():
    order = order_breadth_first(add_alternatives(RESCUED, {"c": "x", "x": "y"}))
    assert order == ["a", "b", "c", "x", "y", "d", "e"]


def test_a_ring_of_alternatives_is_followed_only_so_far():
    assert follow_alternatives("a", {"a": "b", "b": "c"}) == ["b", "c"]
    assert len(follow_alternatives("a", {"a": "b", "b": "a"})) == MAX_ALTERNATIVES


@pytest.mark.parametrize(
    ("edges", "cycles"),
    [
        ([("a", "b"), ("b", "c")], []),
        ([("a", "a")], [["a"]]),
        ([("a", "b"), ("b", "a")], [["a", "b"]]),
        ([("b", "a"), ("c", "b"), ("a", "c")], [["a", "c", "b"]]),
        # A short cycle within a long one.
        ([("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "b")], [["b", "c"]]),
        # Two groups, with a way from the one to the other.
        (
            [("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c"), ("d", "e")],
            [["a", "b"], ["c", "d"]],
        ),
    ],
)
def test_cycles(edges, cycles):
    assert find_cycles(build_graph("abcde", edges)) == cycles


def measure_shortest_cycle(nodes, edges):
    """Try every sequence of nodes, shortest first."""
    present = set(edges)
    for length in range(1, len(nodes) + 1):
        for way in itertools.permutations(nodes, length):
            if all(pair in present for pair in itertools.pairwise((*way, way[0]))):
                return length
    return None


pairs = st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde"))


@given(st.lists(pairs, max_size=12))
def test_the_shortest_cycle_is_among_the_found(edges):
    cycles = find_cycles(build_graph("abcde", edges))
    present = set(edges)
    for cycle in cycles:
        assert all(pair in present for pair in itertools.pairwise((*cycle, cycle[0])))
    expected = measure_shortest_cycle("abcde", edges)
    assert min(map(len, cycles), default=None) == expected


@given(st.lists(pairs, max_size=14))
def test_the_order_respects_every_edge_and_leaves_out_only_what_hangs_on_a_cycle(edges):
    graph = build_graph("abcde", edges)
    order = order_breadth_first(graph)
    place = {node: number for number, node in enumerate(order)}
    for source, target in edges:
        if target in place:
            assert place[source] < place[target]
    assert (len(order) < 5) == bool(find_cycles(graph))


def test_large_graphs_are_walked_without_recursion_and_in_seconds():
    n = 10_000
    names = [f"n{i}" for i in range(n)]
    source = random.Random(7)
    edges = {(names[i], names[i + 1]) for i in range(n - 1)}
    while len(edges) < 100_000:
        first, second = sorted(source.sample(range(n), 2))
        edges.add((names[first], names[second]))
    start = time.process_time()
    graph = build_graph(names, edges)
    assert order_breadth_first(graph) == names
    assert select_range(graph, "from", ["n0"]) == set(names)
    assert select_range(graph, "to", [names[-1]]) == set(names)
    assert find_cycles(graph) == []
    ring = build_graph(names, [*edges, (names[-1], names[0])])
    (cycle,) = find_cycles(ring)
    assert cycle[0] == "n0"
    assert time.process_time() - start < 8.0


def test_a_ring_of_five_thousand_is_found_whole():
    names = [f"n{i}" for i in range(5_000)]
    ring = build_graph(names, [(names[i], names[i - 4_999]) for i in range(5_000)])
    assert find_cycles(ring) == [names]
