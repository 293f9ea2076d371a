"""Ten thousand operators in the front end's format; the bounds allow for a shared machine."""

import time

from dag_engine.core.dagfile import JSON, YAML, check_dag, read_dag
from tests.support.dag_generator import front_end_dag, layered_dag
from tests.support.example_catalogue import make_catalogue


def test_ten_thousand_operators_are_read_and_checked_in_seconds(record_property):
    catalogue = make_catalogue()
    source = front_end_dag(10_000).encode()
    assert len(source) > 6_000_000
    start = time.process_time()
    document = read_dag(source, YAML)
    read = time.process_time()
    problems = check_dag(document, catalogue, dataset_ids={"40"})
    checked = time.process_time()
    record_property("read_s", round(read - start, 2))
    record_property("check_s", round(checked - read, 2))
    assert problems == []
    assert len(document.operators) == 10_000
    assert checked - start < 5.0

    as_json = document.to_json().encode()
    start = time.process_time()
    assert read_dag(as_json, JSON).digest == document.digest
    assert time.process_time() - start < 5.0


def test_a_hundred_thousand_edges_are_read_and_checked_in_seconds():
    # 50 layers of 200, each operator with 10 parents: 98,000 edges.
    source = layered_dag(50, 200, n_parents=10).encode()
    start = time.process_time()
    document = read_dag(source, YAML)
    assert check_dag(document, make_catalogue()) == []
    assert time.process_time() - start < 8.0
    assert len(document.edges) == 98_000
