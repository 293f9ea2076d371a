"""Check that an algorithm keeps the contract: what `dagengine algorithms check` runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from executors.runtime.catalogue import find_algorithms, make_schema
from executors.runtime.loading import load_source

if TYPE_CHECKING:
    from algorithms.base import AlgorithmInfo, Port

_ANNOTATIONS = {
    "table": ("DataFrame", "Table"),
    "model": ("FittedModel",),
    "report": ("dict", "Mapping", "Any"),
    "file": ("Path",),
}
_NOTES = ("Missing values:", "Input:", "Randomness:", "Cost:")
_SECTION = re.compile(r"^(?P<title>[A-Z][\w ]+)\n-{3,}$", re.MULTILINE)


def check_algorithms(target: str) -> list[str]:
    """Check every algorithm of a file or module and return what is wrong, a sentence each.

    Parameters
    ----------
    target : str
        Path of a Python file, or the name of an importable module.

    Returns
    -------
    list of str
        Problems, each naming the algorithm; empty if there are none.
    """
    try:
        module = _import(target)
    except Exception as error:  # noqa: BLE001 - user code; whatever it raises is the finding
        return [f"{target} cannot be imported: {type(error).__name__}: {error}"]
    found = list(find_algorithms(module))
    if not found:
        return [f"{target} defines no algorithm: none of its functions bears the decorator."]
    names = [info.name for _, info in found]
    problems = [
        f"{name}: two algorithms bear this name." for name in names if names.count(name) > 1
    ]
    for _, info in found:
        problems += [f"{info.name}: {problem}" for problem in check_algorithm(info)]
    return list(dict.fromkeys(problems))


def check_algorithm(info: AlgorithmInfo) -> list[str]:
    """Check one algorithm and return what is wrong with it."""
    return [
        *_check_titles(info),
        *_check_params(info),
        *_check_annotations(info),
        *_check_docstring(info),
        *_run_examples(info),
    ]


def _import(target: str) -> ModuleType:
    if target.endswith(".py"):
        return load_source(str(Path(target).resolve()))
    return importlib.import_module(target)


def _check_titles(info: AlgorithmInfo) -> Iterator[str]:
    if not info.title:
        yield "it has no title."
    if not info.title_zh:
        yield "it has no Chinese title (title_zh)."
    if not info.family:
        yield "it has no family."


def _check_params(info: AlgorithmInfo) -> Iterator[str]:
    if info.params.model_config.get("extra") in ("allow", "ignore"):
        yield 'its parameters take unknown names; set extra="forbid" in model_config.'
    try:
        schema = make_schema(info)
        msgspec.json.encode(schema)
    except Exception as error:  # noqa: BLE001 - pydantic raises of many kinds here
        yield f"its parameters have no JSON Schema: {error}"
        return
    for name, field in schema.get("properties", {}).items():
        for key in ("title", "title_zh"):
            # pydantic makes a title from the name where none is given, so that is no title.
            own = info.params.model_fields.get(name)
            if key not in field or (key == "title" and own is not None and own.title is None):
                yield f"parameter {name!r} has no {key}."


def _check_annotations(info: AlgorithmInfo) -> Iterator[str]:
    signature = inspect.signature(info.function)
    arguments = list(signature.parameters.values())[2:]
    for port, argument in zip(info.inputs, arguments, strict=True):
        yield from _check_annotation(
            f"argument {argument.name!r}", port, argument.annotation, is_input=True
        )
    returned = signature.return_annotation
    if not info.outputs:
        return
    if len(info.outputs) > 1 and "tuple" not in _get_text(returned).lower():
        yield f"it has {len(info.outputs)} outputs, so its return annotation must be a tuple."
    for port in info.outputs:
        yield from _check_annotation("the return value", port, returned, is_input=False)


def _check_annotation(what: str, port: Port, annotation: Any, *, is_input: bool) -> Iterator[str]:
    text = _get_text(annotation)
    if not text:
        yield f"{what} of port {port.name!r} has no annotation."
        return
    if port.type == "any":
        return
    for kind in port.types:
        if not any(name in text for name in _ANNOTATIONS[kind]):
            expected = " or ".join(_ANNOTATIONS[kind])
            yield f"{what} is annotated {text}; port {port.name!r} ({port.type}) needs {expected}."
    if is_input and port.many and not re.search(r"\b([Ll]ist|Sequence)\b", text):
        yield f"{what} is annotated {text}; port {port.name!r} takes many edges, so it is a list."
    if is_input and port.optional and "None" not in text and "Optional" not in text:
        yield f"{what} is annotated {text}; port {port.name!r} is optional, so it may be None."


def _get_text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, type):
        return annotation.__qualname__
    return annotation if isinstance(annotation, str) else str(annotation)


def _check_docstring(info: AlgorithmInfo) -> Iterator[str]:
    text = inspect.getdoc(info.function)
    if not text:
        yield "it has no docstring."
        return
    sections = _split_sections(text)
    wanted = ["Parameters", "Raises", "Notes", "References", "Examples"]
    wanted += ["Returns"] if info.outputs else []
    for title in wanted:
        if title not in sections:
            yield f"its docstring has no section {title}."
    described = sections.get("Parameters", "")
    for name in inspect.signature(info.function).parameters:
        if not re.search(rf"^[\w, ]*\b{re.escape(name)}\b[\w, ]* :", described, re.MULTILINE):
            yield f"its docstring does not describe the argument {name!r}."
    for note in _NOTES:
        if "Notes" in sections and note not in sections["Notes"]:
            yield f"the Notes of its docstring do not say {note!r}."


def _split_sections(text: str) -> dict[str, str]:
    heads = list(_SECTION.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    # a docstring without any section has one end and no head
    return {head["title"]: text[head.end() : end] for head, end in zip(heads, ends, strict=False)}


def _run_examples(info: AlgorithmInfo) -> Iterator[str]:
    module = sys.modules[info.function.__module__]
    tests = doctest.DocTestFinder(recurse=False).find(
        info.function, name=info.name, module=module, globs=dict(vars(module))
    )
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        said = io.StringIO()
        if runner.run(test, out=said.write).failed:
            yield f"an example of its docstring fails:\n{said.getvalue().strip()}"
