"""The work of a DAG file as a straight scikit-learn script: one process, one operator after the
other, everything in memory, nothing kept. It knows the engine's own algorithms, not the engine.

    python benchmarks/straight.py config/examples/german_credit.yaml german_credit=FILE.csv

prints the figures of its evaluations. With `--serve` it answers each line of its input
(`{"seeds": {operator: seed}}`) by a line with seconds and figures, for benchmarks/credit.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn import metrics
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

Params = dict[str, Any]
_TREES = ("n_estimators", "learning_rate", "subsample", "max_depth", "max_leaf_nodes")
_TREES += ("min_samples_split", "min_samples_leaf", "min_weight_fraction_leaf")
_TREES += ("min_impurity_decrease", "max_features")
_LOGISTIC = ("C", "solver", "max_iter", "tol", "dual", "fit_intercept", "intercept_scaling")


class Script:
    """A DAG file with its data; `run` does all of its work once."""

    def __init__(self, dag_file: Path, data: dict[str, Path]) -> None:
        self._dag: dict[str, Any] = yaml.safe_load(dag_file.read_text(encoding="utf-8"))["dag"]
        self._data = data
        self.seconds: dict[str, float] = {}
        """How long each operator took in the last run."""

    def run(self, seeds: dict[str, int] | None = None) -> dict[str, dict[str, float]]:
        """Return the figures of each evaluation, by operator."""
        details, results = self._dag["operator_details"], {}
        for name in self._sort():
            params = {"seed": (seeds or {}).get(name, 0), **(details[name].get("params") or {})}
            do = getattr(self, f"_{_METHODS[details[name]['algo_name']]}")
            inputs = self._collect(name, results)
            began = time.perf_counter()
            results[name] = do(params, *inputs)
            self.seconds[name] = time.perf_counter() - began
        return {name: value for name, value in results.items() if isinstance(value, dict)}

    def _sort(self) -> list[str]:
        """Put the operators in an order in which each comes after what it needs."""
        rels, left, order = self._dag["operator_rels"], list(self._dag["operator_list"]), []
        while left:
            waiting = {edge["target"] for name in left for edge in rels.get(name) or []}
            ready = [name for name in left if name not in waiting]
            order += ready
            left = [name for name in left if name in waiting]
        return order

    def _collect(self, name: str, results: dict[str, Any]) -> list[Any]:
        brought = {
            edge["target_index"]: _take_port(results[source], edge["source_index"])
            for source, edges in self._dag["operator_rels"].items()
            for edge in edges
            if edge["target"] == name
        }
        return [brought[index] for index in sorted(brought)]

    # --- the operators ----------------------------------------------------------------------------

    def _read(self, params: Params) -> pd.DataFrame:
        return pd.read_csv(self._data[str(params["data_id"])])

    @staticmethod
    def _fill(_params: Params, df: pd.DataFrame) -> pd.DataFrame:
        filled = df.copy(deep=False)
        for name in df.columns[df.isna().any()]:
            column = df[name]
            is_number = pd.api.types.is_numeric_dtype(column.dtype)
            filled[name] = column.fillna(column.median() if is_number else column.mode()[0])
        return filled

    @staticmethod
    def _encode(params: Params, df: pd.DataFrame) -> pd.DataFrame:
        return pd.concat(
            [
                df[[name]]
                if name in params["exclude"] or pd.api.types.is_numeric_dtype(df[name].dtype)
                else pd.get_dummies(df[name], prefix=name, prefix_sep="=", dtype="int8")
                for name in df.columns
            ],
            axis=1,
        )

    @staticmethod
    def _split(params: Params, df: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        seed = params["seed"] if params["ext2"] is None else params["ext2"]
        chosen = np.zeros(len(df), dtype=bool)
        n_first = round(len(df) * params["ext1"])
        chosen[np.random.default_rng(seed).permutation(len(df))[:n_first]] = True
        return df[chosen], df[~chosen]

    @staticmethod
    def _fit_logistic(params: Params, df: pd.DataFrame) -> Any:
        model = LogisticRegression(random_state=_choose_seed(params), **_take(params, _LOGISTIC))
        return _fit(model, params, df)

    @staticmethod
    def _fit_trees(params: Params, df: pd.DataFrame) -> Any:
        settings = _take(params, _TREES)
        return _fit(
            GradientBoostingClassifier(random_state=_choose_seed(params), **settings), params, df
        )

    @staticmethod
    def _predict(_params: Params, *inputs: Any) -> pd.DataFrame:
        tables = [value for value in inputs if isinstance(value, pd.DataFrame)]
        models = [value for value in inputs if not isinstance(value, pd.DataFrame)]
        df = tables[0] if tables else models[0].rows
        model = models[-1]
        features = df[model.columns]
        scores = model.estimator.predict_proba(features)
        positive = list(model.estimator.classes_).index(model.positive)
        return df.assign(
            predict_result=model.estimator.predict(features), predict_score=scores[:, positive]
        )

    @staticmethod
    def _evaluate(params: Params, df: pd.DataFrame) -> dict[str, float]:
        truth = (df[params["y_col"]] == params["pre_value"]).to_numpy()
        guess = (df[params["pre_col"]] == params["pre_value"]).to_numpy()
        score = df["predict_score"].to_numpy()
        false_rate, true_rate, _ = metrics.roc_curve(truth, score)
        metrics.precision_recall_curve(truth, score)
        found = np.cumsum(truth[np.argsort(-score, kind="stable")])
        _lift = found / np.arange(1, len(found) + 1) / truth.mean()
        _gain = found / found[-1]
        metrics.confusion_matrix(truth, guess)
        return {
            "auc": float(metrics.roc_auc_score(truth, score)),
            "ks": float(np.max(true_rate - false_rate)),
            "accuracy": float(metrics.accuracy_score(truth, guess)),
            "precision": float(metrics.precision_score(truth, guess, zero_division=0)),
            "recall": float(metrics.recall_score(truth, guess, zero_division=0)),
            "f1": float(metrics.f1_score(truth, guess, zero_division=0)),
            "log_loss": float(metrics.log_loss(truth, score)),
        }


_METHODS = {
    "algo_local_read_file": "read",
    "algo_fill_missing": "fill",
    "algo_encode_categories": "encode",
    "algo_local_split_data": "split",
    "algo_local_model_2c_l": "fit_logistic",
    "algo_local_model_gbdt": "fit_trees",
    "algo_local_model_predict": "predict",
    "algo_local_model_2c_eval": "evaluate",
}


class _Fitted:
    """A model with what a script keeps in variables beside it."""

    def __init__(self, estimator: Any, columns: list[str], positive: Any, rows: Any) -> None:
        self.estimator = estimator
        self.columns = columns
        self.positive = positive
        self.rows = rows


def _fit(estimator: Any, params: Params, df: pd.DataFrame) -> _Fitted:
    columns = params.get("x_cols") or [name for name in df.columns if name != params["y_col"]]
    estimator.fit(df[columns], df[params["y_col"]])
    return _Fitted(estimator, columns, params["pre_value"], df)


def _choose_seed(params: Params) -> int:
    seed: int = params["seed"] if params.get("random_state") is None else params["random_state"]
    return seed


def _take(params: Params, names: tuple[str, ...]) -> Params:
    return {name: params[name] for name in names if name in params}


def _take_port(value: Any, index: int) -> Any:
    return value[index] if isinstance(value, tuple) else value


def main() -> None:
    """Run once and print, or serve."""
    is_server = "--serve" in sys.argv
    dag_file, *pairs = [word for word in sys.argv[1:] if word != "--serve"]
    data = {name: Path(path) for name, path in (pair.split("=", 1) for pair in pairs)}
    script = Script(Path(dag_file), data)
    if not is_server:
        print(json.dumps(script.run()))
        return
    for line in sys.stdin:
        seeds = json.loads(line)["seeds"]
        began = time.perf_counter()
        figures = script.run(seeds)
        seconds = time.perf_counter() - began
        answer = {"seconds": seconds, "figures": figures, "operators": script.seconds}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
