"""The layers of a configuration, taken apart into single values with their origins."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from dag_engine.cli.config_keys import Key, Path, find_children, find_key
from executors.masking import hide_url_passwords

ENVIRONMENT_PREFIX = "DAGENGINE__"


@dataclass(slots=True)
class Layers:
    """Values by path, later layers over earlier ones, and what was wrong on the way.

    `names` has the names that users chose (of executors, queues and connections), also where
    nothing stands below them.
    """

    values: dict[Path, tuple[Any, str]] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_yaml(self, text: str, source: str) -> None:
        """Add a YAML document; its keys are named by file and line."""
        try:
            node = yaml.compose(text, Loader=yaml.CSafeLoader)
            if node is not None:
                _construct(node)  # refuses tags, so that no part of it can fail below
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"{source}:{mark.line + 1}" if mark else source
            self.problems.append(f"{place}: not plain YAML: {getattr(error, 'problem', error)}")
            return
        if node is not None:
            self._add_node((), node, source)

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Add what stands in variables such as DAGENGINE__SERVER__PORT."""
        for name in sorted(environment):
            if name.startswith(ENVIRONMENT_PREFIX):
                path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
                self._add_text(path, environment[name], f"environment {name}")

    def add_flags(self, flags: Mapping[str, tuple[str, Any]]) -> None:
        """Add values of flags: dotted key to the flag's name and the value."""
        for dotted, (flag, value) in flags.items():
            self._add_leaf(tuple(dotted.split(".", 2)), value, f"flag {flag}")

    def _add_node(self, path: Path, node: yaml.Node, source: str) -> None:
        origin = f"{source}:{node.start_mark.line + 1}"
        key = find_key(path) if path else None
        if key is not None and not (key.is_mapping and len(path) == len(key.parts)):
            self._add_leaf(path, _construct(node), origin)
        elif isinstance(node, yaml.MappingNode):
            self._add_name(path, origin)
            for name, name_line, value in self._iterate(node, source):
                self._descend((*path, name), f"{source}:{name_line}", value, source)
        elif _construct(node) is None and path:
            self._add_name(path, origin)
        else:
            place = ".".join(path) or "the file"
            self.problems.append(
                f"{origin}: {place}: expected a mapping, came {_show(key, _construct(node))}"
            )

    def _descend(self, path: Path, origin: str, node: yaml.Node, source: str) -> None:
        if find_key(path) is None and not find_children(path):
            self.problems.append(f"{origin}: {_describe_unknown(path)}")
        else:
            self._add_node(path, node, source)

    def _iterate(self, node: yaml.MappingNode, source: str) -> Iterator[tuple[str, int, yaml.Node]]:
        seen: set[str] = set()
        for key_node, value in node.value:
            name, line = str(_construct(key_node)), key_node.start_mark.line + 1
            if name in seen:
                self.problems.append(f"{source}:{line}: {name} stands here a second time")
            seen.add(name)
            yield name, line, value

    def _add_text(self, path: Path, text: str, origin: str) -> None:
        key = find_key(path)
        if key is None or (key.is_mapping and len(path) == len(key.parts)):
            self._add_whole(path, key, text, origin)
            return
        try:
            value = _read_text(key, text)
        except yaml.YAMLError:
            self.problems.append(f"{origin}: {_show(key, text)} cannot be read as a value")
            return
        self._add_leaf(path, value, origin)

    def _add_whole(self, path: Path, key: Key | None, text: str, origin: str) -> None:
        """Add a whole mapping that is written in one variable, such as `{zone: a}`."""
        if key is None:
            self.problems.append(f"{origin}: {_describe_unknown(path)}")
            return
        try:
            value = yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError:
            value = text
        if not isinstance(value, dict):
            self.problems.append(f"{origin}: expected a mapping such as {{name: value}}")
            return
        self._add_name(path, origin)
        for name, item in value.items():
            self._add_leaf((*path, str(name)), item, origin)

    def _add_leaf(self, path: Path, value: Any, origin: str) -> None:
        self._add_name(path[:-1], origin)
        self.values[path] = (value, origin)

    def _add_name(self, path: Path, origin: str) -> None:
        """Remember a name that the user chose, such as `gpu` in `queues.gpu`."""
        if len(path) == 2 and "*" in find_children(path[:1]):
            self.names.setdefault(path, origin)


def _show(key: Key | None, value: Any) -> str:
    """Show a value that is wrong, unless it may be secret."""
    if key is not None and key.is_secret:
        return f"{type(value).__name__} that is not shown"
    return hide_url_passwords(repr(value))


def _construct(node: yaml.Node) -> Any:
    """Build the plain value of a node, with the safe constructor."""
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def _read_text(key: Key, text: str) -> Any:
    """Read a variable's text as the kind of value that its key wants."""
    if key.kind in {"text", "text mapping"}:
        return text
    if key.kind == "texts" and not text.lstrip().startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    return yaml.load(text, Loader=yaml.CSafeLoader)


def _describe_unknown(path: Path) -> str:
    known, parent = set[str](), path
    while parent and not known:
        parent = parent[:-1]
        known = find_children(parent)
    wrong = path[len(parent)] if len(path) > len(parent) else path[-1]
    known -= {"*"}
    prefix = "".join(f"{part}." for part in parent)
    nearest = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    if nearest:
        return f"{'.'.join(path)} is not known; did you mean {prefix}{nearest[0]}?"
    return f"{'.'.join(path)} is not known; known here: {', '.join(sorted(known))}"
