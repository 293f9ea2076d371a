"""Algorithms that do one thing each, for the tests of the runtime."""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from algorithms.base import AlgorithmError, Context, FittedModel, Port, algorithm

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MODULE = "tests.support.sample_algorithms"


class NoParams(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NumberParams(NoParams):
    whole: int = Field(1, ge=0)
    real: float = 1.0
    flag: bool = False
    text: str = ""
    many: list[str] = []
    old: str | None = Field(
        None, json_schema_extra={"deprecated": True, "note": "it is ignored now"}
    )


class ValueParams(NoParams):
    kind: str


REPORT = [Port("value", "report")]
TABLE_IN = [Port("rows", "table")]


@algorithm("echo", title="Echo", outputs=REPORT)
def echo(context: Context, params: NumberParams) -> dict[str, Any]:
    return {"params": params.model_dump(), "seed": context.seed}


@algorithm("no_outputs", title="No outputs")
def no_outputs(context: Context, params: NoParams) -> None:
    context.log.info("你好")


@algorithm("return_value", title="Return a value", outputs=[Port("value", "table|model|report")])
def return_value(context: Context, params: ValueParams) -> Any:
    return VALUES[params.kind](context)


@algorithm("two_outputs", title="Two", outputs=[Port("rows", "table"), Port("value", "report")])
def two_outputs(context: Context, params: ValueParams) -> Any:
    import pandas as pd

    rows = pd.DataFrame({"城市": ["北京", None], "n": [1, 2]})
    return {"both": (rows, {"n": 2}), "one": rows, "bad": (rows, {"n": object()})}[params.kind]


@algorithm("return_file", title="Return a file", outputs=[Port("made", "file")])
def return_file(context: Context, params: ValueParams) -> Path:
    path = context.workdir / "报告.html"
    path.write_text("<p>好</p>", encoding="utf-8")
    link = context.workdir / "link.html"
    link.symlink_to(path)
    return {"plain": path, "link": link, "none": path.with_name("no"), "dir": path.parent}[
        params.kind
    ]


@algorithm("count", title="Count", inputs=TABLE_IN, outputs=REPORT)
def count(context: Context, params: NoParams, rows: pd.DataFrame) -> dict[str, Any]:
    return {"type": type(rows).__name__, "rows": len(rows), "columns": list(rows.columns)}


@algorithm("count_arrow", title="Count", inputs=TABLE_IN, outputs=REPORT)
def count_arrow(context: Context, params: NoParams, rows: pa.Table) -> dict[str, Any]:
    return {"type": type(rows).__name__, "rows": rows.num_rows}


@algorithm(
    "ports",
    title="Ports of every kind",
    inputs=[
        Port("maybe", "report", optional=True),
        Port("several", "report", many=True),
        Port("whatever", "any", optional=True),
    ],
    outputs=REPORT,
)
def ports(context: Context, params: NoParams, maybe: Any, several: Any, whatever: Any) -> Any:
    opened = None if whatever is None else context.load(whatever)
    return {"maybe": maybe, "several": several, "opened": str(type(opened).__name__)}


@algorithm("read_file", title="Read", inputs=[Port("made", "file")], outputs=REPORT)
def read_file(context: Context, params: NoParams, made: Path) -> dict[str, Any]:
    return {"text": made.read_text(encoding="utf-8")}


@algorithm("fit", title="Fit", inputs=TABLE_IN, outputs=[Port("model", "model")])
def fit(context: Context, params: NoParams, rows: pd.DataFrame) -> FittedModel:
    from sklearn.linear_model import LogisticRegression

    columns = [name for name in rows.columns if name != "y"]
    estimator = LogisticRegression(random_state=context.seed).fit(rows[columns], rows["y"])
    return FittedModel(estimator, columns, "y", rows["y"].max())


@algorithm("describe_model", title="Describe", inputs=[Port("m", "model")], outputs=REPORT)
def describe_model(context: Context, params: NoParams, model: FittedModel) -> dict[str, Any]:
    return {
        "columns": list(model.columns),
        "target": model.target,
        "positive_class": model.positive_class,
        "rows": len(context.load(model.fitted_on)),
        "coefficient": model.estimator.coef_[0].tolist(),
    }


@algorithm("fail", title="Fail")
def fail(context: Context, params: ValueParams) -> None:
    FAILURES[params.kind](context)


@algorithm("talk", title="Talk")
def talk(context: Context, params: NoParams) -> None:
    for done in range(1, 101):
        context.progress(done, 100, f"{done}步")
    context.metric("auc", 0.5)
    context.metric("nothing", float("nan"))
    warnings.warn("an old way was used", FutureWarning, stacklevel=1)
    (context.workdir / "left.txt").write_text("x")


@algorithm("loop", title="Loop until stopped", outputs=REPORT)
def loop(context: Context, params: NoParams) -> dict[str, Any]:
    while not context.cancelled():
        pass
    return {"stopped": True}


@algorithm("use_dataset", title="Use a dataset", outputs=REPORT)
def use_dataset(context: Context, params: ValueParams) -> dict[str, Any]:
    data = context.dataset(params.kind)
    return {"id": data.id, "version": data.version, "text": data.path().read_text("utf-8")}


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def _raise(error: BaseException) -> Any:
    raise error


def _wrap_full_disk(_context: Context) -> None:
    try:
        FAILURES["disk"](_context)
    except OSError as error:
        raise RuntimeError("could not save") from error


FAILURES: dict[str, Any] = {
    "input": lambda _: _raise(AlgorithmError("列 x 不存在", "换一列")),
    "error": lambda _: _raise(ZeroDivisionError("by zero")),
    "memory": lambda _: _raise(MemoryError()),
    "disk": lambda _: _raise(OSError(errno.ENOSPC, "No space left on device")),
    "wrapped disk": _wrap_full_disk,
    "exit": lambda _: sys.exit(3),
    "unprintable": lambda _: _raise(UnprintableError()),
    "surrogate": lambda _: _raise(ValueError("\ud800")),
    "terminate": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "interrupt": lambda _: _raise(KeyboardInterrupt()),
    "deep": lambda context: FAILURES["deep"](context),
}


def _make_frame(**columns: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(columns)


def _fit_pickled(_context: Context) -> FittedModel:
    class Home:
        pass

    return FittedModel(Home(), ["x"])


VALUES: dict[str, Any] = {
    "none": lambda _: None,
    "list": lambda _: [1],
    "series": lambda _: _make_frame(x=[1])["x"],
    "mixed": lambda _: _make_frame(x=[1, "a"]),
    "object": lambda _: {"x": object()},
    "nan": lambda _: {"x": float("nan"), "y": [float("inf")]},
    "large": lambda _: {"text": "字" * 5000},
    "foreign model": _fit_pickled,
}
