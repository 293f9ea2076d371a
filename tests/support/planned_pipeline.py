"""One pipeline of six operators and its plan, as the tests of planning use it."""

import random

import pytest

from dag_engine.core.dagfile import YAML, read_dag
from dag_engine.core.errors import PlanRefusedError
from dag_engine.core.plan import RunDefaults
from dag_engine.core.planning import Selection, draft_plan
from executors.base import DatasetRef
from tests.support.example_catalogue import make_catalogue

FORTY = DatasetRef(id="40", version=3, uri="file:///d/40.csv", sha256="ab")

# a reads, b splits, l and g fit on the two parts, p predicts with both, e evaluates.
PIPELINE = """\
dag:
  operator_list: [e, a, b, g, l, p]
  operator_rels:
    a: [{target: b, source_index: 0, target_index: 0}]
    b:
      - {target: l, source_index: 0, target_index: 0}
      - {target: g, source_index: 1, target_index: 0}
    g: [{target: p, source_index: 0, target_index: 0}]
    l: [{target: p, source_index: 0, target_index: 1}]
    p: [{target: e, source_index: 0, target_index: 0}]
  operator_details:
    a: {algo_name: algo_local_read_file, data_type: 本地python, params: {data_id: 40}}
    b: {algo_name: algo_local_split_data, params: {ext1: 0.8}}
    l: {algo_name: algo_local_model_2c_l, params: {x_cols: [x], y_col: y}}
    g: {algo_name: algo_local_model_gbdt, cn_name: 树, params: {x_cols: [x], y_col: y}}
    p: {algo_name: algo_local_model_predict, params: {x_cols: [x]}}
    e: {algo_name: algo_local_model_2c_eval, params: {y_col: y, pre_col: predict_result}}
"""


def plan(source, word="all", operators=(), *, catalogue=None, **options):
    document = read_dag(source.encode(), YAML)
    unfinished = options.pop("unfinished", ())
    options = {
        "defaults": RunDefaults(),
        "datasets": {"40": FORTY},
        "seeds": random.Random(1),
        "selection": Selection(word, operators, unfinished),
    } | options
    return draft_plan(document, catalogue or make_catalogue(), **options)


def by_name(draft):
    return {task.operator: task for task in draft.tasks}


def refuse(source, *args, **options):
    with pytest.raises(PlanRefusedError) as caught:
        plan(source, *args, **options)
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


def prints(source=PIPELINE, **options):
    return {task.operator: task.fingerprint for task in plan(source, **options).tasks}


def changed(before, after):
    return {name for name in before if before[name] != after[name]}
