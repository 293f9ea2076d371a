"""The catalogue that the front end's example file fits, and one light algorithm beside it.

The schemas are written as pydantic makes them, so that tests of the engine need no algorithm.
"""

from __future__ import annotations

from typing import Any

from dag_engine.core.catalogue import Catalogue
from executors.base import AlgorithmOffer, ExecutorOffer, PortSpec

_TEXTS = {"items": {"type": "string"}, "minItems": 1, "type": "array"}


def _or_null(**schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}], "default": None}


def _params(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "additionalProperties": False,
        "properties": properties,
        "required": required,
        "type": "object",
    }


_READ = _params(
    ["data_id"],
    data_id={
        "anyOf": [{"type": "string"}, {"type": "integer"}],
        "format": "dataset-id",
        "title": "Dataset",
    },
)
_SPLIT = _params(
    [],
    split_type={"enum": [1, 2, 3], "default": 1},
    ext1={"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "default": 0.8},
    ext2={"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
)
_FIT: dict[str, Any] = {
    "x_cols": _TEXTS,
    "y_col": {"type": "string"},
    "pre_value": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
    "senior": {"type": "boolean"},
    "random_state": _or_null(type="integer", minimum=0),
    "verbose": {"type": "integer"},
    "warm_start": {"type": "boolean"},
}
_LOGISTIC = _params(
    ["x_cols", "y_col"],
    **_FIT,
    penalty=_or_null(enum=["l1", "l2", "elasticnet"], type="string"),
    C={"type": "number", "exclusiveMinimum": 0, "default": 1.0},
    max_iter={"type": "integer", "minimum": 1, "default": 100},
    class_weight={
        "anyOf": [
            {"const": "balanced", "type": "string"},
            {"additionalProperties": {"type": "number"}, "type": "object"},
            {"type": "null"},
        ]
    },
    dual={"type": "boolean"},
    fit_intercept={"type": "boolean"},
    intercept_scaling={"type": "number"},
    n_jobs=_or_null(type="integer"),
    solver={"type": "string"},
    tol={"type": "number", "exclusiveMinimum": 0},
)
_GBDT = _params(
    ["x_cols", "y_col"],
    **_FIT,
    n_estimators={"type": "integer", "minimum": 1, "default": 100},
    max_depth=_or_null(type="integer", minimum=1),
    criterion={"type": "string"},
    init=_or_null(type="string"),
    learning_rate={"type": "number", "minimum": 0},
    loss={"enum": ["log_loss", "deviance", "exponential"], "type": "string"},
    max_features={"anyOf": [{"type": "integer"}, {"type": "number"}, {"type": "null"}]},
    max_leaf_nodes=_or_null(type="integer"),
    min_impurity_decrease={"type": "number"},
    min_samples_leaf={"anyOf": [{"type": "integer"}, {"type": "number"}]},
    min_samples_split={"anyOf": [{"type": "integer"}, {"type": "number"}]},
    min_weight_fraction_leaf={"type": "number"},
    subsample={"type": "number"},
)
_PREDICT = _params(["x_cols"], x_cols=_TEXTS)
_EVALUATE = _params(
    ["y_col", "pre_col"],
    y_col={"type": "string"},
    pre_col={"type": "string"},
    pre_value={"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
    score_col={"type": "string", "default": "predict_score"},
)


def make_offer(
    name: str,
    *,
    inputs: list[PortSpec] | None = None,
    outputs: list[PortSpec] | None = None,
    params_schema: dict[str, Any] | None = None,
    deprecated_params: list[str] | None = None,
    code_version: str = "1+0123456789ab",
) -> AlgorithmOffer:
    """Make the offer of an algorithm; its schema takes no parameters unless given."""
    return AlgorithmOffer(
        name=name,
        entry=f"algorithms.{name}:{name}",
        version="1",
        code_version=code_version,
        inputs=inputs or [],
        outputs=outputs or [],
        params_schema=_params([]) if params_schema is None else params_schema,
        deprecated_params=deprecated_params or [],
    )


def make_catalogue(*more: AlgorithmOffer) -> Catalogue:
    """Make a catalogue of the example's six algorithms, `noop` (any inputs), and more."""
    table, model = PortSpec(name="rows", type="table"), PortSpec(name="model", type="model")
    either = [PortSpec(name=name, type="table|model") for name in ("first", "second")]
    many = PortSpec(name="inputs", type="any", is_many=True, is_optional=True)
    offers = [
        make_offer("algo_local_read_file", outputs=[table], params_schema=_READ),
        make_offer(
            "algo_local_split_data", inputs=[table], outputs=[table, table], params_schema=_SPLIT
        ),
        make_offer(
            "algo_local_model_2c_l",
            inputs=[table],
            outputs=[model],
            params_schema=_LOGISTIC,
            deprecated_params=["multi_class"],
        ),
        make_offer(
            "algo_local_model_gbdt",
            inputs=[table],
            outputs=[model],
            params_schema=_GBDT,
            deprecated_params=["presort", "min_impurity_split"],
        ),
        make_offer(
            "algo_local_model_predict", inputs=either, outputs=[table], params_schema=_PREDICT
        ),
        make_offer(
            "algo_local_model_2c_eval",
            inputs=[table],
            outputs=[PortSpec(name="report", type="report")],
            params_schema=_EVALUATE,
        ),
        make_offer("noop", inputs=[many], outputs=[PortSpec(name="out", type="any")]),
        *more,
    ]
    return Catalogue(
        revision="1",
        algorithms={offer.name: offer for offer in offers},
        executors={"local": ExecutorOffer(name="local", data_types=["本地python"], slots=4)},
        data_types={"本地python": "local", "本機python": "local", "local": "local"},
    )
