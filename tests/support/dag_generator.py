"""DAG files of any size in the front end's own format, and the catalogue that they fit.

The front end writes one operator as some 640 bytes; ten thousand make 6.2 MB. Everything here is a
function of its arguments, so two processes make the same file.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

_COLUMNS = (
    "LIMIT_BAL,SEX,EDUCATION,MARRIAGE,AGE,PAY_0,PAY_2,PAY_3,PAY_4,PAY_5,PAY_6,BILL_AMT1,BILL_AMT2,"
    "BILL_AMT3,BILL_AMT4,BILL_AMT5,BILL_AMT6,PAY_AMT1,PAY_AMT2,PAY_AMT3,PAY_AMT4,PAY_AMT5,PAY_AMT6"
)
_STAMP = 1517360824080

# name, family, title, lines of parameters; in an order in which every prefix is a sound pipeline
_KINDS: list[tuple[str, str, str, list[str]]] = [
    ("algo_local_read_file", "數據源", "讀文件", ["data_id: 40"]),
    (
        "algo_local_split_data",
        "數據預處理",
        "拆分組件",
        ["split_type: 1", "ext1: 0.8", "ext2: null"],
    ),
    (
        "algo_local_model_2c_l",
        "模型算法",
        "邏輯回歸二分類",
        [
            f"x_cols: [{_COLUMNS}]",
            "y_col: next_month",
            "pre_value: 1",
            "penalty: l2",
            "C: 1",
            "max_iter: 100",
            "senior: true",
            "class_weight: null",
            "dual: false",
            "fit_intercept: true",
            "intercept_scaling: 1",
            "multi_class: ovr",
            "n_jobs: 1",
            "random_state: null",
            "solver: liblinear",
            "tol: 0.0001",
            "verbose: 0",
            "warm_start: false",
        ],
    ),
    (
        "algo_local_model_gbdt",
        "模型算法",
        "GBDT",
        [
            f"x_cols: [{_COLUMNS}]",
            "y_col: next_month",
            "pre_value: 1",
            "n_estimators: 10",
            "max_depth: 5",
            "senior: true",
            "criterion: friedman_mse",
            "init: null",
            "learning_rate: 0.1",
            "loss: deviance",
            "max_features: null",
            "max_leaf_nodes: null",
            "min_impurity_decrease: 0",
            "min_impurity_split: null",
            "min_samples_leaf: 1",
            "min_samples_split: 2",
            "min_weight_fraction_leaf: 0",
            "presort: auto",
            "random_state: null",
            "subsample: 1",
            "verbose: 0",
            "warm_start: false",
        ],
    ),
    ("algo_local_model_predict", "模型預測", "模型預測", [f"x_cols: [{_COLUMNS}]"]),
    (
        "algo_local_model_2c_eval",
        "模型評估",
        "二分類評估",
        ["y_col: next_month", "pre_col: predict_result", "pre_value: 1"],
    ),
]
_PIPELINE_EDGES = [
    (0, 0, 1, 0),
    (1, 0, 2, 0),
    (1, 1, 3, 0),
    (3, 0, 4, 0),
    (2, 0, 4, 1),
    (4, 0, 5, 0),
]


def front_end_dag(n_operators: int, *, data_id: int | str = 40) -> str:
    """Write a DAG of six-operator pipelines (the last one cut short) as the front end posts it."""
    ids = [f"{_KINDS[i % 6][0]}_{45 + i // 6}_{_STAMP + 12_632 * i}" for i in range(n_operators)]
    lines = ["dag:", f" operator_list: [{','.join(ids)}]", " operator_rels:"]
    lines += _front_end_edges(ids)
    lines += [" operator_details:", "  "]
    for i, operator in enumerate(ids):
        name, family, title, params = _KINDS[i % 6]
        lines += [
            f"  {operator}:",
            f"   algo_name: {name}",
            "   data_type: 本地python",
            f"   type: {family}",
            f"   cn_name: {title}",
            "   coordinate:",
            f"    x: {137 + 400 * (i // 6) + 20 * (i % 6)}",
            f"    y: {69 + 95 * (i % 6) + 1 / 3}",
            "   params:",
        ]
        lines += [f"    data_id: {data_id}" if i % 6 == 0 else f"    {line}" for line in params]
    lines += [" params:", "  translate: [41,-20]", "  scale: 0.9", ""]
    return "\n".join(lines)


def _front_end_edges(ids: list[str]) -> list[str]:
    by_source: dict[str, list[str]] = {}
    for first in range(0, len(ids), 6):
        for source, source_port, target, target_port in _PIPELINE_EDGES:
            if first + max(source, target) < len(ids):
                by_source.setdefault(ids[first + source], []).append(
                    f'{{"target":"{ids[first + target]}","source_index":{source_port},'
                    f'"target_index":{target_port}}}'
                )
    return [f"  {source}: [{','.join(edges)}]" for source, edges in by_source.items()]


def plain_dag(
    operators: Iterable[str],
    edges: Iterable[tuple[str, str]] = (),
    *,
    algorithm: str = "noop",
) -> str:
    """Write a DAG of equal operators; every edge goes from output 0 to the `many` port 0."""
    lines = ["dag:", " operator_list:"]
    names = list(operators)
    lines += [f"  - {name}" for name in names]
    by_source: dict[str, list[str]] = {}
    for source, target in edges:
        by_source.setdefault(source, []).append(target)
    lines.append(" operator_rels:" if by_source else " operator_rels: {}")
    for source, targets in by_source.items():
        lines.append(f"  {source}:")
        lines += [f"   - {{target: {t}, source_index: 0, target_index: 0}}" for t in targets]
    lines.append(" operator_details:")
    lines += [f"  {name}: {{algo_name: {algorithm}, params: {{}}}}" for name in names]
    return "\n".join(lines) + "\n"


def chain_dag(length: int, *, algorithm: str = "noop") -> str:
    """Write a chain `n0 → n1 → …`."""
    names = [f"n{i}" for i in range(length)]
    return plain_dag(names, pairwise(names), algorithm=algorithm)


def fan_dag(width: int, *, algorithm: str = "noop") -> str:
    """Write `first` → `width` operators → `last`."""
    middle = [f"m{i}" for i in range(width)]
    edges = [("first", name) for name in middle] + [(name, "last") for name in middle]
    return plain_dag(["first", *middle, "last"], edges, algorithm=algorithm)


def layered_dag(n_layers: int, width: int, n_parents: int = 2, *, algorithm: str = "noop") -> str:
    """Write layers in which operator `l<i>_<j>` has `n_parents` neighbours of the layer above."""
    names = [f"l{i}_{j}" for i in range(n_layers) for j in range(width)]
    edges = [
        (f"l{i - 1}_{(j + k) % width}", f"l{i}_{j}")
        for i in range(1, n_layers)
        for j in range(width)
        for k in range(n_parents)
    ]
    return plain_dag(names, edges, algorithm=algorithm)
