"""Check a task's parameters against the algorithm's model, without coercion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from executors.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

_encode = msgspec.json.Encoder().encode


def validate_params(model: type[BaseModel], params: dict[str, Any]) -> BaseModel:
    """Make the model from the parameters of a DAG file.

    Validation is that of JSON in strict mode: `"1"` is no number and `true` no integer, while an
    integer will do for a float and a text for a date. Unknown parameters are refused unless the
    model allows them expressly.
    """
    from pydantic import ValidationError

    _check_known(model, params)
    try:
        return model.model_validate_json(_encode(params), strict=True)
    except ValidationError as error:
        raise InvalidInputError(
            _describe(error), "Correct the parameter in the DAG file and run again."
        ) from error


def list_deprecated(model: type[BaseModel]) -> dict[str, str]:
    """Return the deprecated parameters with the note that says what becomes of each."""
    deprecated = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("deprecated"):
            deprecated[field.alias or name] = str(extra.get("note", "it is ignored"))
    return deprecated


def _check_known(model: type[BaseModel], params: dict[str, Any]) -> None:
    if not params or model.model_config.get("extra") == "allow":
        return
    fields = model.model_fields
    unknown = [name for name in params if name not in fields]
    if unknown:
        aliases = {field.alias for field in fields.values()}
        unknown = [name for name in unknown if name not in aliases]
    if unknown:
        raise InvalidInputError(
            f"Unknown parameter {unknown[0]!r}.",
            f"The algorithm takes: {', '.join(fields) or 'no parameters'}.",
        )


def _describe(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"]) or "(all)"
        if problem["type"] == "missing":
            sentences.append(f"Parameter {place!r} is missing.")
        else:
            came = repr(problem["input"])
            came = came if len(came) <= 80 else came[:77] + "…"
            sentences.append(f"Parameter {place!r}: {problem['msg']}; {came} came.")
    return " ".join(sentences)
