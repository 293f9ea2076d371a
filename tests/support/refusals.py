"""A sound DAG file for cases to damage, and what became of it."""

import pytest

from dag_engine.core.dagfile import YAML, DagFileError, accept_dag
from tests.support.example_catalogue import make_catalogue

BODY = """\
dag:
  operator_list: [a, b]
  operator_rels:
    a: [{target: b, source_index: 0, target_index: 0}]
  operator_details:
    a:
      algo_name: algo_local_read_file
      data_type: 本地python
      params: {data_id: 40}
    b:
      algo_name: algo_local_split_data
      params:
        split_type: 1
"""


def refuse(source, media_type=YAML, **around):
    data = source if isinstance(source, bytes) else source.encode()
    around = {"dataset_ids": {"40"}, "queues": {"default", "fast"}} | around
    with pytest.raises(DagFileError) as caught:
        accept_dag(data, media_type, make_catalogue(), **around)
    return caught.value


def tell(error):
    return [(problem.code, problem.line, problem.column) for problem in error.problems]


def change(old, new, body=BODY):
    assert old in body
    return body.replace(old, new, 1)
