"""The table of calls: every route is declared once, with what it takes and what it answers.

From the declaration come the Flask route, the check of the query and of the content type, and the
OpenAPI document.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from dag_engine.api.errors import BadRequestError, UnsupportedTypeError
from dag_engine.core.access import Role

Query = Mapping[str, Any]
Handler = Callable[..., Response]

JSON = "application/json"
YAML = "application/yaml"
YAML_TYPES = (YAML, "application/x-yaml", "text/yaml", "text/x-yaml")
TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
MULTIPART = "multipart/form-data"
OCTETS = "application/octet-stream"
API_PREFIX = "/api/v1"

_TEXT_LIMIT = 4096
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter: `schema` is its JSON Schema, `default` what an absent one means."""

    name: str
    schema: dict[str, Any]
    about: str
    default: Any = None


def integer(
    name: str, about: str, *, default: int | None = None, least: int = 0, most: int = 2**53
) -> Parameter:
    """Declare a whole number between two limits."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, schema, about, default)


def number(name: str, about: str, *, default: float, most: float) -> Parameter:
    """Declare a number between 0 and a limit."""
    return Parameter(name, {"type": "number", "minimum": 0, "maximum": most}, about, default)


def text(name: str, about: str) -> Parameter:
    """Declare any text."""
    return Parameter(name, {"type": "string", "maxLength": _TEXT_LIMIT}, about)


def choice(name: str, about: str, words: tuple[str, ...], default: str | None = None) -> Parameter:
    """Declare one of some words."""
    return Parameter(name, {"type": "string", "enum": list(words)}, about, default)


def flag(name: str, about: str) -> Parameter:
    """Declare true or false, false when absent."""
    return Parameter(name, {"type": "boolean"}, about, False)


def words(name: str, about: str) -> Parameter:
    """Declare a list of words, separated by commas or given repeatedly."""
    return Parameter(name, {"type": "array", "items": {"type": "string"}}, about, [])


def choices(name: str, about: str, allowed: tuple[str, ...]) -> Parameter:
    """Declare a list of some words."""
    return Parameter(
        name, {"type": "array", "items": {"type": "string", "enum": list(allowed)}}, about, []
    )


def json_text(name: str, about: str) -> Parameter:
    """Declare a JSON object, written as text."""
    return Parameter(name, {"type": "object"}, about, {})


LIMIT = integer("limit", "How many items at most.", default=100, least=1, most=1000)
CURSOR = text("cursor", "`next_cursor` of the page before.")
PAGE = (LIMIT, CURSOR)


@dataclass(frozen=True, slots=True)
class Body:
    """What a call takes as its body: content types and the name of its schema, or one for each
    type.
    """

    types: tuple[str, ...]
    schema: str | tuple[str, ...] | None = None
    about: str = ""
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call answers: a sentence, the name of the schema, and the content types."""

    about: str
    schema: str | None = None
    types: tuple[str, ...] = (JSON,)


@dataclass(frozen=True, slots=True)
class Call:
    """One route as it is declared."""

    method: str
    rule: str
    name: str
    tag: str
    summary: str
    about: str
    query: tuple[Parameter, ...]
    body: Body | None
    answers: dict[int, Answer]
    headers: dict[str, str]
    role: Role


@dataclass(slots=True)
class Resource:
    """The calls of one resource: a blueprint and its part of the table."""

    name: str
    tag: str
    prefix: str = API_PREFIX
    calls: list[Call] = field(default_factory=list)
    blueprint: Blueprint = field(init=False)

    def __post_init__(self) -> None:
        self.blueprint = Blueprint(self.name, __name__, url_prefix=self.prefix or None)

    def call(
        self,
        method: str,
        rule: str,
        answers: dict[int, Answer],
        *,
        role: Role,
        query: tuple[Parameter, ...] = (),
        body: Body | None = None,
        headers: dict[str, str] | None = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a route and the role that it asks for; the handler gets the checked query and
        the path's parts.
        """

        def declare(handler: Handler) -> Handler:
            summary, _, about = (handler.__doc__ or "").strip().partition("\n")
            call = Call(
                method,
                self.prefix + rule,
                handler.__name__,
                self.tag,
                summary.rstrip("."),
                " ".join(about.split()),
                query,
                body,
                answers,
                headers or {},
                role,
            )
            self.calls.append(call)

            @wraps(handler)
            def view(**path: Any) -> Response:
                check_content_type(body)
                return handler(read_query(query), **path)

            self.blueprint.add_url_rule(rule, handler.__name__, view, methods=[method])
            return handler

        return declare


def check_content_type(body: Body | None) -> None:
    """Refuse a body of a type that the call does not take, first of all those of plain forms."""
    if request.method in ("GET", "HEAD"):
        return
    came = request.mimetype
    allowed = body.types if body is not None else (JSON,)
    if not came and not (body is not None and body.is_required):
        return
    if came not in allowed:
        raise UnsupportedTypeError(
            "unsupported_content_type",
            f"The body's Content-Type is {came or 'not given'}; this call takes "
            f"{' or '.join(allowed)}.",
            f"Send the header Content-Type: {allowed[0]}.",
        )


def read_query(parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Check the query against its declaration; what is not declared is refused by name."""
    known = {parameter.name: parameter for parameter in parameters}
    for name in request.args:
        if name not in known:
            raise _unknown_parameter(name, list(known))
    return {
        name: _read_parameter(parameter, request.args.getlist(name))
        for name, parameter in known.items()
    }


def _unknown_parameter(name: str, known: list[str]) -> BadRequestError:
    nearest = difflib.get_close_matches(name, known, 1, 0.5)
    if nearest:
        hint = f"Did you mean {nearest[0]}?"
    elif known:
        hint = f"Known are {', '.join(known)}."
    else:
        hint = "This call takes none."
    return BadRequestError(
        "unknown_parameter", f"The query parameter {name[:100]!r} is not known here.", hint
    )


def _read_parameter(parameter: Parameter, values: list[str]) -> Any:
    if not values:
        return parameter.default
    kind = parameter.schema["type"]
    if kind == "array":
        return _read_words(parameter, values)
    if len(values) > 1:
        raise _bad_parameter(parameter, "once", "several times")
    return _readers[kind](parameter, values[0])


def _bad_parameter(parameter: Parameter, expected: str, came: str) -> BadRequestError:
    return BadRequestError(
        "bad_parameter",
        f"The query parameter {parameter.name} was expected {expected}; it came {came[:200]}.",
        parameter.about,
    )


def _read_number(parameter: Parameter, value: str) -> float:
    schema = parameter.schema
    is_whole = schema["type"] == "integer"
    noun = "an integer" if is_whole else "a number"
    expected = f"as {noun} from {schema['minimum']} to {schema['maximum']}"
    if is_whole and not _WHOLE.fullmatch(value):
        raise _bad_parameter(parameter, expected, f"as {value!r}")
    try:
        result = int(value) if is_whole else float(value)
    except ValueError:
        raise _bad_parameter(parameter, expected, f"as {value!r}") from None
    if not schema["minimum"] <= result <= schema["maximum"]:
        raise _bad_parameter(parameter, expected, f"as {value!r}")
    return result


def _read_boolean(parameter: Parameter, value: str) -> bool:
    lowered = value.lower()
    if lowered not in ("true", "false", "1", "0"):
        raise _bad_parameter(parameter, "as true or false", f"as {value!r}")
    return lowered in ("true", "1")


def _read_words(parameter: Parameter, values: list[str]) -> list[str]:
    found = [word for value in values if value for word in value.split(",")]
    allowed = parameter.schema["items"].get("enum")
    for word in found:
        if allowed is not None and word not in allowed:
            raise _bad_parameter(parameter, f"as some of {', '.join(allowed)}", f"with {word!r}")
        if not word:
            raise _bad_parameter(
                parameter, "as words with a comma between two", "with an empty one"
            )
    return found


def _read_text(parameter: Parameter, value: str) -> str:
    allowed = parameter.schema.get("enum")
    if allowed is not None and value not in allowed:
        raise _bad_parameter(parameter, f"as one of {', '.join(allowed)}", f"as {value!r}")
    if "\x00" in value or len(value) > _TEXT_LIMIT:
        raise _bad_parameter(
            parameter, f"as text of up to {_TEXT_LIMIT} characters without NUL", f"as {value!r}"
        )
    return value


def _read_object(parameter: Parameter, value: str) -> dict[str, Any]:
    try:
        result = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _bad_parameter(parameter, "as a JSON object", f"as text ({error})") from None
    if not isinstance(result, dict):
        raise _bad_parameter(parameter, "as a JSON object", f"as {value!r}")
    return result


_readers: dict[str, Callable[[Parameter, str], Any]] = {
    "integer": _read_number,
    "number": _read_number,
    "boolean": _read_boolean,
    "string": _read_text,
    "object": _read_object,
}
