"""A DAG file that was read: its value as it was posted, and typed views of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec

from dag_engine.core.dagfile.collector import ProblemCollector
from dag_engine.core.dagfile.rendering import render_json, render_yaml
from dag_engine.core.graph import Graph, build_graph
from executors.base import AlgorithmOffer


class RunSection(msgspec.Struct, frozen=True, kw_only=True):
    """The `run` section of an operator; None means the default of the configuration.

    `alternative` is the operator that runs if this one fails for good; `on_failure` is then None.
    """

    executor: str | None = None
    retries: int | None = None
    retry_delay_s: float | None = None
    retry_on: list[str] | None = None
    timeout_s: float | None = None
    cache: Literal["use", "refresh", "off"] | None = None
    cpu: float | None = None
    memory_mb: int | None = None
    gpu: float | None = None
    labels: dict[str, str] = {}
    priority: int | None = None
    queue: str | None = None
    on_failure: Literal["stop", "continue"] | None = None
    alternative: str | None = None


class Operator(msgspec.Struct, frozen=True, kw_only=True):
    """One operator: its algorithm, executor label, parameters, titles for people, run section.

    `number` is its place in `operator_list`.
    """

    id: str
    number: int
    algorithm: str
    data_type: str | None = None
    family: str = ""
    title: str = ""
    params: dict[str, Any] = {}
    run: RunSection = RunSection()


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One edge between two ports; `number` is its place in the list of its source."""

    source: str
    source_port: int
    target: str
    target_port: int
    number: int


@dataclass(slots=True)
class Checked:
    """The algorithm of every operator, and its parameters as the algorithm is to get them.

    `catalogue`, `sealed` and `default_executor` are what it was held against, `dataset_ids` the
    data sets that it names.
    """

    catalogue: object
    sealed: object
    default_executor: str
    offers: dict[str, AlgorithmOffer] = field(default_factory=dict)
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    dataset_ids: Collection[str] = ()


@dataclass
class DagDocument:
    """A DAG file as it was posted.

    `value` is the plain value with all keys in their order, `source` the bytes that came, of type
    `media_type`. `operators` stand in the order of `operator_list`. `checked` is what came of the
    check against the catalogue, where there was one.
    """

    value: dict[str, Any]
    operators: dict[str, Operator]
    edges: list[Edge]
    name: str
    description: str
    source: bytes
    media_type: str
    collector: ProblemCollector = field(default_factory=ProblemCollector, repr=False, compare=False)
    checked: Checked | None = field(default=None, repr=False, compare=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal.

        What counts is the whole value, the canvas data included: every key, every value with its
        type (1 is not 1.0), the order of lists. What does not count is how it is written: YAML or
        JSON, the order of keys, spaces, quotes, comments.
        """
        canonical = msgspec.json.encode(self.value, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()

    @cached_property
    def graph(self) -> Graph:
        """The operators and their edges."""
        return build_graph(self.operators, ((edge.source, edge.target) for edge in self.edges))

    @cached_property
    def alternatives(self) -> dict[str, str]:
        """For every operator that has one: the operator that stands in for it."""
        return {
            operator.id: operator.run.alternative
            for operator in self.operators.values()
            if operator.run.alternative is not None
        }

    @cached_property
    def edges_into(self) -> dict[str, list[Edge]]:
        """For every operator the edges that end at it, in the order of the file."""
        found: dict[str, list[Edge]] = {operator: [] for operator in self.operators}
        for edge in self.edges:
            found[edge.target].append(edge)
        return found

    def to_yaml(self) -> str:
        """Write the value as YAML: same keys, same order."""
        return render_yaml(self.value)

    def to_json(self) -> str:
        """Write the value as JSON: same keys, same order."""
        return render_json(self.value)
