"""The graphs of the benchmark are what their titles say."""

from __future__ import annotations

import pytest

from benchmarks.graphs import Case, Graph, make_cases, make_chain, make_dag_file, make_layers

CASES = make_cases()


def count_edges(case: Case) -> int:
    return sum(len(node.parents) for graph in case.graphs for node in graph.nodes)


@pytest.mark.parametrize(
    ("name", "n_graphs", "n_tasks", "n_edges"),
    [
        ("chain", 1, 40, 39),
        ("wide", 1, 202, 400),  # 200 edges out of the source, 200 into the sink
        ("layered", 1, 1000, 1800),  # nine layers of 100 with two parents each
        ("concurrent", 20, 200, 180),  # twenty chains of nine edges
    ],
)
def test_case_has_the_size_that_it_is_known_by(
    name: str, n_graphs: int, n_tasks: int, n_edges: int
) -> None:
    case = CASES[name]
    assert (len(case.graphs), case.n_tasks, count_edges(case)) == (n_graphs, n_tasks, n_edges)


def test_quick_cases_bear_the_same_names_and_are_small() -> None:
    quick = make_cases(is_quick=True)
    assert list(quick) == list(CASES)
    assert all(case.n_tasks <= 12 for case in quick.values())


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_parents_come_before_the_nodes_that_wait_for_them(case: Case) -> None:
    for graph in case.graphs:
        seen: set[str] = set()
        for node in graph.nodes:
            assert set(node.parents) <= seen
            assert len(set(node.parents)) == len(node.parents)
            seen.add(node.name)


def test_last_node_of_a_layer_waits_for_the_last_and_the_first_of_the_one_before() -> None:
    layers = make_layers(2, 3)
    assert {node.name: node.parents for node in layers.nodes[3:]} == {
        "layer_1_0": ("layer_0_0", "layer_0_1"),
        "layer_1_1": ("layer_0_1", "layer_0_2"),
        "layer_1_2": ("layer_0_2", "layer_0_0"),
    }


def test_sinks_are_the_nodes_that_nothing_waits_for() -> None:
    assert [sink.name for sink in make_chain(3, "bench_noop").find_sinks()] == ["link_2"]
    assert len(CASES["layered"].graphs[0].find_sinks()) == 100


def test_dag_file_has_an_edge_for_every_parent() -> None:
    graph: Graph = make_chain(3, "bench_fibonacci")
    dag = make_dag_file(graph, "three links")["dag"]
    assert dag["name"] == "three links"
    assert dag["operator_list"] == ["link_0", "link_1", "link_2"]
    assert dag["operator_rels"] == {
        "link_0": [{"target": "link_1", "source_index": 0, "target_index": 0}],
        "link_1": [{"target": "link_2", "source_index": 0, "target_index": 0}],
        "link_2": [],
    }
    assert {detail["algo_name"] for detail in dag["operator_details"].values()} == {
        "bench_fibonacci"
    }
