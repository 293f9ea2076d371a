"""The rules of style that no linter knows."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pickling import copy_by_pickle

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("dag_engine", "operator_engine", "executors", "algorithms")
MAX_LINES = 500
MAX_STATEMENTS = 40
BANNED_MODULES = {"utils", "util", "common", "helpers", "helper", "misc"}
BANNED_STATES = re.compile(r"[\"'](done|doing)[\"']")


def find_python_files(*folders: str) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def describe(path: Path) -> str:
    return str(path.relative_to(ROOT))


SOURCES = find_python_files(*PACKAGES, "tests", "benchmarks", "sql", "config")


@pytest.mark.parametrize("path", SOURCES, ids=describe)
def test_file_has_at_most_500_lines(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MAX_LINES, f"{n_lines} lines; split it by what belongs together"


def count_statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1


def test_no_function_has_more_than_40_statements() -> None:
    too_long = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                n_statements = count_statements(node)
                if n_statements > MAX_STATEMENTS:
                    too_long.append(f"{describe(path)}:{node.lineno} {node.name} {n_statements}")
    assert too_long == []


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert [describe(path) for path in SOURCES if path.stem in BANNED_MODULES] == []


def test_plug_in_contracts_have_at_most_five_abstract_methods() -> None:
    from executors.base import BaseExecutor

    assert len(BaseExecutor.__abstractmethods__) <= 5


def find_error_classes() -> Iterator[type[BaseException]]:
    for package_name in PACKAGES:
        package = importlib.import_module(package_name)
        for module_info in pkgutil.walk_packages(package.__path__, f"{package_name}."):
            if module_info.name.endswith(".errors"):
                module = importlib.import_module(module_info.name)
                for _, value in inspect.getmembers(module, inspect.isclass):
                    if issubclass(value, BaseException) and value.__module__ == module.__name__:
                        yield value


ERROR_CLASSES = list(find_error_classes())
EXAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 7,
    "float": 0.5,
    "bool": True,
    "bytes": b"octets",
    "Path": Path("file"),
    "None": None,
}


def make_example(annotation: Any) -> Any:
    """Make a value of an annotated type: the first member of a union, an empty collection."""
    word = str(annotation).split("|")[0].strip()
    if word in EXAMPLES:
        return EXAMPLES[word]
    name = word.partition("[")[0].rpartition(".")[2]
    collections: dict[str, Any] = {"tuple": (), "set": set(), "frozenset": frozenset()}
    if name in {"dict", "Mapping"}:
        return {"key": "值"}
    if name in {"list", "Sequence", "Iterable"}:
        return []
    return collections.get(name, "text")


def make_error(error_class: type[BaseException]) -> BaseException:
    ours = [base for base in error_class.__mro__ if base.__module__ != "builtins"]
    if not any("__init__" in vars(base) for base in ours):
        return error_class("text")
    arguments = []
    options = {}
    for parameter in inspect.signature(error_class).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            arguments.append("text")
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            options[parameter.name] = make_example(parameter.annotation)
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            arguments.append(make_example(parameter.annotation))
    return error_class(*arguments, **options)


@pytest.mark.parametrize(
    "error_class", ERROR_CLASSES, ids=lambda value: f"{value.__module__}.{value.__qualname__}"
)
def test_error_comes_through_pickle_with_its_facts(error_class: type[BaseException]) -> None:
    error = make_error(error_class)
    back = copy_by_pickle(error)
    assert type(back) is error_class
    assert vars(back).keys() == vars(error).keys()
    assert str(back) == str(error)


@pytest.mark.parametrize(
    "error_class", ERROR_CLASSES, ids=lambda value: f"{value.__module__}.{value.__qualname__}"
)
def test_error_class_ends_in_error(error_class: type[BaseException]) -> None:
    assert error_class.__name__.endswith(("Error", "Warning"))


def test_nothing_but_the_configuration_reads_the_environment() -> None:
    """Services get settings files; a client's address and token are options of the program."""
    allowed = {
        "dag_engine/cli/config_loading.py",  # the configuration itself
        "executors/local/",  # sets what numeric libraries read in a worker
        "executors/runtime/",  # the same
        "operator_engine/launcher.py",  # hands it to the processes it starts
        "operator_engine/process.py",
    }
    readers = [
        name
        for path in find_python_files("dag_engine", "operator_engine", "executors")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text(encoding="utf-8"))
        and not any((name := describe(path)).startswith(word) for word in allowed)
    ]
    assert readers == []


def test_states_are_called_by_their_names_only() -> None:
    found = [
        f"{describe(path)}:{number}"
        for path in find_python_files("dag_engine", "operator_engine", "executors")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BANNED_STATES.search(line) and "progress" not in line
    ]
    assert found == []


def test_no_todo_is_left() -> None:
    word = "TO" + "DO"
    found = [describe(path) for path in SOURCES if word in path.read_text(encoding="utf-8")]
    assert found == []


def test_client_commands_import_no_database_and_no_web_library() -> None:
    script = (
        "import sys, importlib, pkgutil\n"
        "import dag_engine.cli.main, dag_engine.cli.client, dag_engine.cli.watching\n"
        "import dag_engine.cli.reports, dag_engine.cli.commands as commands\n"
        "for module in pkgutil.iter_modules(commands.__path__):\n"
        "    importlib.import_module('dag_engine.cli.commands.' + module.name)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}\n"
        "      & {'sqlalchemy', 'flask', 'gunicorn', 'pandas', 'sklearn', 'alembic'}))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == "[]"
