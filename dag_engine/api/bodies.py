"""How request bodies are read: with a limit, and checked against a declared shape."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec
from flask import request

from dag_engine.api.calls import JSON, YAML
from dag_engine.api.errors import BadRequestError, TooLargeError, UnprocessableError

DAG_LIMIT_BYTES = 16 * 1024 * 1024
JSON_LIMIT_BYTES = 1024 * 1024
PROXY_LIMIT_BYTES = 64 * 1024 * 1024

_Shape = TypeVar("_Shape")
_PLACE = re.compile(r" - at `\$([^`]*)`$")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


def read_body(limit_bytes: int) -> bytes:
    """Read the whole body; one over the limit is answered 413."""
    # A body without a length is cut at the limit without a word, so one byte more is let in.
    request.max_content_length = limit_bytes + 1
    data = request.get_data(cache=False)
    if len(data) > limit_bytes:
        raise TooLargeError("body_too_large", "The body is larger than this call takes.")
    return data


def dag_media_type() -> str:
    """Tell whether the body is YAML or JSON, from its Content-Type."""
    return JSON if request.mimetype == JSON else YAML


def read_json(shape: type[_Shape], *, may_be_empty: bool = False) -> _Shape:
    """Read a JSON body of the given shape; unknown keys and wrong types are refused by place."""
    data = read_body(JSON_LIMIT_BYTES)
    if not data.strip() and may_be_empty:
        data = b"{}"
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        message, pointer = split_place(str(error))
        problem = {"code": "bad_body", "message": message, "pointer": pointer}
        raise UnprocessableError(
            "bad_body", f"The body is not what this call takes: {message}.", "", [problem]
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError("bad_json", f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise BadRequestError("too_deep", "The body is nested too deeply.") from error


def split_place(message: str) -> tuple[str, str]:
    """Split the place off a validation message and write it as a JSON pointer."""
    found = _PLACE.search(message)
    if found is None:
        return message, ""
    steps = [name or index for name, index in _STEP.findall(found.group(1))]
    pointer = "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
    return message[: found.start()], pointer


def as_dict(value: Any) -> dict[str, Any]:
    """Turn a struct into a plain dict of JSON values."""
    result = msgspec.to_builtins(value)
    if not isinstance(result, dict):
        raise TypeError(f"{type(value).__name__} is not an object")
    return result
