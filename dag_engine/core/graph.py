"""Walks over the graph of a DAG: breadth-first order, ranges, cycles. Nothing here recurses."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RangeWord = Literal["all", "from", "to", "only", "children", "failed"]
RANGE_WORDS: tuple[RangeWord, ...] = ("all", "from", "to", "only", "children", "failed")

MAX_ALTERNATIVES = 16
"""So many operators in a row may stand in for one another."""

_CYCLE_SEARCH_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in their given order, and for each the nodes right below and right above it."""

    nodes: Sequence[str]
    below: Mapping[str, Sequence[str]]
    above: Mapping[str, Sequence[str]]


def build_graph(nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> Graph:
    """Make a graph; several edges between two nodes count once, in the order of the first."""
    order = list(nodes)
    below: dict[str, dict[str, None]] = {node: {} for node in order}
    above: dict[str, dict[str, None]] = {node: {} for node in order}
    for source, target in edges:
        below[source][target] = None
        above[target][source] = None
    return Graph(
        order,
        {node: list(names) for node, names in below.items()},
        {node: list(names) for node, names in above.items()},
    )


def order_breadth_first(graph: Graph) -> list[str]:
    """List the nodes level by level, a node only after all above it.

    The level of a node is the length of the longest way down to it; within a level the order is
    that in which the nodes were reached. Nodes of a cycle, and those below one, are left out.
    """
    n_waiting = {node: len(graph.above[node]) for node in graph.nodes}
    queue = deque(node for node in graph.nodes if not n_waiting[node])
    order = []
    while queue:
        node = queue.popleft()
        order.append(node)
        for child in graph.below[node]:
            n_waiting[child] -= 1
            if not n_waiting[child]:
                queue.append(child)
    return order


def reach(starts: Iterable[str], neighbours: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the starts and all that is reached from them, breadth first."""
    seen = set(starts)
    queue = deque(seen)
    while queue:
        for neighbour in neighbours[queue.popleft()]:
            if neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return seen


def add_alternatives(graph: Graph, alternatives: Mapping[str, str]) -> Graph:
    """Return the graph in which an alternative stands after its operator (which it waits for) and
    before all that its operator feeds (which waits for it).
    """
    if not alternatives:
        return graph
    edges = [(source, target) for source, targets in graph.below.items() for target in targets]
    for operator in alternatives:
        edges.append((operator, alternatives[operator]))
        for alternative in follow_alternatives(operator, alternatives):
            edges += [(alternative, target) for target in graph.below[operator]]
    return build_graph(graph.nodes, edges)


def follow_alternatives(operator: str, alternatives: Mapping[str, str]) -> list[str]:
    """List what stands in for an operator: its alternative, the alternative's alternative, …"""
    chain: list[str] = []
    while operator in alternatives and len(chain) < MAX_ALTERNATIVES:
        operator = alternatives[operator]
        chain.append(operator)
    return chain


def select_range(
    graph: Graph,
    word: RangeWord,
    operators: Collection[str],
    *,
    unfinished: Collection[str] = (),
    alternatives: Mapping[str, str] | None = None,
) -> set[str]:
    """Return the nodes of a range.

    `from` is each operator and all below, `to` each and all above, `only` just these, `children`
    all below without the operators themselves (unless one is below another), `failed` what a
    former run did not finish (what it found needless is not unfinished). An alternative
    comes with its operator, and without it only where it was named itself.
    """
    partner = alternatives or {}
    if word == "all":
        return set(graph.nodes)
    if word == "only":
        return set(operators)
    if word == "to":
        return _reach_above(graph, operators, partner)
    if word == "from":
        return _reach_below(graph, operators, partner)
    standing_in = set(partner.values())
    if word == "failed":
        chosen = set(unfinished) & set(graph.nodes)
        followers = {n for name in chosen - standing_in for n in follow_alternatives(name, partner)}
        return (chosen - standing_in) | followers
    children = {child for operator in operators for child in graph.below[operator]}
    return _reach_below(graph, children - standing_in, partner)


def _reach_below(graph: Graph, starts: Iterable[str], alternatives: Mapping[str, str]) -> set[str]:
    standing_in = set(alternatives.values())
    seen = set(starts)
    queue = deque(seen)
    while queue:
        node = queue.popleft()
        found = [child for child in graph.below[node] if child not in standing_in]
        if node in alternatives:
            found.append(alternatives[node])
        for neighbour in found:
            if neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return seen


def _reach_above(
    graph: Graph, starts: Collection[str], alternatives: Mapping[str, str]
) -> set[str]:
    rescued: dict[str, list[str]] = {}
    for operator, alternative in alternatives.items():
        rescued.setdefault(alternative, []).append(operator)
    named = set(starts)
    seen = set(named)
    queue = deque(seen)
    while queue:
        node = queue.popleft()
        found = list(graph.above[node])
        if node in alternatives:
            found.append(alternatives[node])
        if node not in named:
            found += rescued.get(node, [])
        for neighbour in found:
            if neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return seen


def find_cycles(graph: Graph) -> list[list[str]]:
    """Return one cycle of every group of nodes that lie on cycles together: the shortest, unless
    the group is so large that only part of it can be searched.

    Each cycle starts at its node that stands first in the graph.
    """
    stuck = set(graph.nodes) - set(order_breadth_first(graph))
    if not stuck:
        return []
    order = {node: number for number, node in enumerate(graph.nodes)}
    groups = [group for group in _find_groups(graph, stuck) if _is_cyclic(graph, group)]
    cycles = []
    steps = _CYCLE_SEARCH_STEPS
    for group in groups:
        cycle, used = _find_short_cycle(graph, group, order, steps)
        steps = max(steps - used, 0)
        first = min(range(len(cycle)), key=lambda i: order[cycle[i]])
        cycles.append(cycle[first:] + cycle[:first])
    cycles.sort(key=lambda cycle: order[cycle[0]])
    return cycles


def _is_cyclic(graph: Graph, group: set[str]) -> bool:
    return len(group) > 1 or any(node in graph.below[node] for node in group)


def _find_groups(graph: Graph, nodes: set[str]) -> list[set[str]]:
    """Find the strongly connected components (Kosaraju: finish order below, then reach above)."""
    finished: list[str] = []
    seen: set[str] = set()
    for start in graph.nodes:
        if start not in nodes or start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(graph.below[start]))]
        while stack:
            node, children = stack[-1]
            child = next((c for c in children if c in nodes and c not in seen), None)
            if child is None:
                finished.append(node)
                stack.pop()
            else:
                seen.add(child)
                stack.append((child, iter(graph.below[child])))
    groups: list[set[str]] = []
    taken: set[str] = set()
    for start in reversed(finished):
        if start in taken:
            continue
        group = {start}
        queue = deque(group)
        taken.add(start)
        while queue:
            for parent in graph.above[queue.popleft()]:
                if parent in nodes and parent not in taken:
                    taken.add(parent)
                    group.add(parent)
                    queue.append(parent)
        groups.append(group)
    return groups


def _find_short_cycle(
    graph: Graph, group: set[str], order: Mapping[str, int], max_steps: int
) -> tuple[list[str], int]:
    """Search from one node after the other for the shortest way back to it.

    At least one search is made whatever `max_steps` says, so a cycle is always found.
    """
    loop = next((node for node in group if node in graph.below[node]), None)
    if loop is not None:
        return [loop], 0
    best: list[str] = []
    steps = 0
    for start in sorted(group, key=order.__getitem__):
        cycle, used = _find_way_back(graph, group, start, len(best))
        steps += used
        if cycle:
            best = cycle
        if len(best) == 2 or steps >= max_steps:
            break
    return best, steps


def _find_way_back(
    graph: Graph, group: set[str], start: str, shorter_than: int
) -> tuple[list[str], int]:
    came_from: dict[str, str] = {}
    depth = {start: 0}
    queue = deque([start])
    steps = 0
    while queue:
        node = queue.popleft()
        if shorter_than and depth[node] + 1 >= shorter_than:
            break
        for child in graph.below[node]:
            steps += 1
            if child == start:
                return _trace(node, came_from), steps
            if child in group and child not in depth:
                depth[child] = depth[node] + 1
                came_from[child] = node
                queue.append(child)
    return [], steps


def _trace(node: str, came_from: Mapping[str, str]) -> list[str]:
    way = [node]
    while way[-1] in came_from:
        way.append(came_from[way[-1]])
    return way[::-1]
