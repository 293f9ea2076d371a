"""The graphs that are measured, as plain data and as DAG files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """One task: its name, the algorithm that it runs, and the tasks it waits for."""

    name: str
    algorithm: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which parents come first."""

    nodes: tuple[Node, ...]

    def find_sinks(self) -> list[Node]:
        """List the nodes that nothing waits for."""
        waited_for = {parent for node in self.nodes for parent in node.parents}
        return [node for node in self.nodes if node.name not in waited_for]


@dataclass(frozen=True, slots=True)
class Case:
    """Graphs that are started at once and measured until the last one is seen finished."""

    name: str
    title: str
    graphs: tuple[Graph, ...]

    @property
    def n_tasks(self) -> int:
        """How many tasks all graphs have together."""
        return sum(len(graph.nodes) for graph in self.graphs)


def make_chain(length: int, algorithm: str) -> Graph:
    """Make a chain: each node waits for the one before."""
    return Graph(
        tuple(Node(f"link_{i}", algorithm, (f"link_{i - 1}",) if i else ()) for i in range(length))
    )


def make_fan(width: int) -> Graph:
    """Make one node, then `width` nodes that wait for it, then one that waits for all of these."""
    leaves = tuple(Node(f"leaf_{i}", "bench_noop", ("source",)) for i in range(width))
    sink = Node("sink", "bench_noop", tuple(leaf.name for leaf in leaves))
    return Graph((Node("source", "bench_noop"), *leaves, sink))


def make_layers(n_layers: int, width: int) -> Graph:
    """Make layers in which each node waits for two neighbours of the layer before."""
    return Graph(
        tuple(
            Node(
                f"layer_{layer}_{i}",
                "bench_noop",
                (f"layer_{layer - 1}_{i}", f"layer_{layer - 1}_{(i + 1) % width}") if layer else (),
            )
            for layer in range(n_layers)
            for i in range(width)
        )
    )


def make_cases(*, is_quick: bool = False) -> dict[str, Case]:
    """Make all cases by name; the quick ones are small and only show that everything runs."""
    length, width, layers, layer_width, n_chains, chain_length = (
        (5, 8, 3, 4, 3, 3) if is_quick else (40, 200, 10, 100, 20, 10)
    )
    cases = (
        Case(
            "chain",
            f"chain of {length}, naive Fibonacci of 10",
            (make_chain(length, "bench_fibonacci"),),
        ),
        Case("wide", f"1 → {width} → 1 no-ops", (make_fan(width),)),
        Case(
            "layered",
            f"{layers} × {layer_width} no-ops, two parents each",
            (make_layers(layers, layer_width),),
        ),
        Case(
            "concurrent",
            f"{n_chains} chains of {chain_length} no-ops at once",
            tuple(make_chain(chain_length, "bench_noop") for _ in range(n_chains)),
        ),
    )
    return {case.name: case for case in cases}


def make_dag_file(graph: Graph, name: str) -> dict[str, Any]:
    """Write a graph as the front end does: every operator with its title and place on the canvas.

    The name makes the file differ from others, so that nothing kept of an earlier one helps.
    """
    edges: dict[str, list[dict[str, Any]]] = {node.name: [] for node in graph.nodes}
    for node in graph.nodes:
        for parent in node.parents:
            edges[parent].append({"target": node.name, "source_index": 0, "target_index": 0})
    return {
        "dag": {
            "operator_list": [node.name for node in graph.nodes],
            "operator_rels": edges,
            "operator_details": {
                node.name: _describe_operator(node, place) for place, node in enumerate(graph.nodes)
            },
            "params": {"translate": [0, 0], "scale": 1},
            "name": name,
        }
    }


def _describe_operator(node: Node, place: int) -> dict[str, Any]:
    return {
        "algo_name": node.algorithm,
        "data_type": "本地python",
        "type": "基准测试",
        "cn_name": node.name,
        "coordinate": {"x": 10.5 + 30 * (place % 20), "y": 12.25 + 30 * (place // 20)},
        "params": {},
    }
