"""Reads YAML in one pass over the events of libyaml's parser.

The loaders of PyYAML are not used: their composer recurses in C (deep nesting ends the process),
their constructor expands aliases and merge keys, lets the last of two equal keys win and reads
dates and base-60 numbers. The parser itself is iterative and hands over one event at a time, so
every limit is enforced before anything is built.
"""

from __future__ import annotations

from typing import Any

import yaml

from dag_engine.core.dagfile.characters import describe, find_forbidden
from dag_engine.core.dagfile.limits import MAX_NODES, MAX_UNLIKE_SCALARS
from dag_engine.core.dagfile.scalars import WORDS, ScalarError, resolve_plain
from dag_engine.core.dagfile.tree import TreeBuilder

_MISSING = object()
_MAX_REMEMBERED = 100_000
_PLAIN_HINT = "A DAG file is plain data: write the value out in full."


def read_yaml(text: str, builder: TreeBuilder) -> None:
    """Read the only document of a text into the builder."""
    reader = _YamlReader(text, builder)
    try:
        reader.read()
    except yaml.YAMLError as error:
        reader.fail_syntax(error)


class _YamlReader:
    def __init__(self, text: str, builder: TreeBuilder) -> None:
        self._text = text
        self._builder = builder
        self._has_escapes = "\\" in text
        self._n_documents = 0
        self._n_resolved = 0

    # One loop without calls per kind of event: it runs some 600,000 times for 10,000 operators.
    def read(self) -> None:  # noqa: C901 - see above
        """Take all events of the parser."""
        builder = self._builder
        add, open_container, close = builder.add, builder.open, builder.close
        next_event = yaml.CSafeLoader(self._text).get_event
        resolved = dict(WORDS)
        find_resolved = resolved.get
        scalar, mapping, sequence = (
            yaml.ScalarEvent,
            yaml.MappingStartEvent,
            yaml.SequenceStartEvent,
        )
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        has_escapes = self._has_escapes
        event: Any = None
        for _ in range(MAX_NODES):
            event = next_event()
            kind = event.__class__
            if kind is scalar:
                if event.tag is not None or event.anchor is not None:
                    self._refuse_properties(event)
                text = event.value
                if event.style:
                    if has_escapes and event.style == '"':
                        text = self._check_escaped(text, event.start_mark.index)
                    add(text, event.start_mark.index)
                    continue
                value = find_resolved(text, _MISSING)
                if value is _MISSING:
                    value = self._resolve(text, event, resolved)
                add(value, event.start_mark.index)
            elif kind in ends:
                close()
            elif kind is mapping or kind is sequence:
                if event.tag is not None or event.anchor is not None:
                    self._refuse_properties(event)
                open_container({} if kind is mapping else [], event.start_mark.index)
            elif kind is yaml.StreamEndEvent:
                return
            else:
                self._take_other(event)
        builder.fail_too_many(MAX_NODES, "keys and values", event.start_mark.index)

    def _resolve(self, text: str, event: Any, resolved: dict[str, Any]) -> Any:
        """Find out what a plain scalar means; only sound ones are remembered."""
        offset = event.start_mark.index
        self._n_resolved += 1
        if self._n_resolved > MAX_UNLIKE_SCALARS:
            self._builder.fail_too_many(MAX_UNLIKE_SCALARS, "different unquoted values", offset)
        if text == "<<" and self._builder.wants_key:
            self._builder.report(
                "yaml_merge_forbidden",
                "Merge keys ('<<') are not allowed.",
                offset,
                _PLAIN_HINT,
                name=text,
            )
            return text
        try:
            value = resolve_plain(text)
        except ScalarError as error:
            hint = "Put it into double quotes if it is text."
            self._builder.report(error.code, error.message, offset, hint, name=text[:80])
            return text if self._builder.wants_key else None
        if len(resolved) < _MAX_REMEMBERED:
            resolved[text] = value
        return value

    def _refuse_properties(self, event: Any) -> None:
        offset = event.start_mark.index
        name = getattr(event, "value", "")[:80]
        if event.tag is not None:
            self._builder.report(
                "yaml_tag_forbidden",
                f"The tag '{event.tag[:80]}' is not allowed.",
                offset,
                "Remove the tag; text that looks like a number goes into double quotes.",
                name=name,
            )
        if event.anchor is not None:
            self._builder.report(
                "yaml_alias_forbidden",
                f"The anchor '&{event.anchor[:80]}' is not allowed.",
                offset,
                _PLAIN_HINT,
                name=name,
            )

    def _check_escaped(self, text: str, offset: int) -> str:
        """Refuse what an escape in double quotes may have brought in."""
        character = find_forbidden(text)
        if character is None:
            return text
        self._builder.report(
            "bad_character",
            f"The text holds the character {describe(character)}, which cannot be stored.",
            offset,
            "Remove the character.",
            name=text[:80],
        )
        return text.replace(character, "\ufffd")

    def _take_other(self, event: Any) -> None:
        offset = event.start_mark.index
        if isinstance(event, yaml.AliasEvent):
            name = (event.anchor or "")[:80]
            self._builder.report(
                "yaml_alias_forbidden",
                f"The alias '*{name}' is not allowed.",
                offset,
                _PLAIN_HINT,
                name=name,
            )
            if self._builder.wants_key:
                self._builder.drop_key(name, offset)
            else:
                self._builder.add(None, offset)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._n_documents += 1
            if self._n_documents > 1:
                self._builder.fail(
                    "several_documents",
                    "The file holds more than one YAML document.",
                    offset,
                    "Post every DAG in a file of its own.",
                )
            if event.tags:
                self._builder.report(
                    "yaml_tag_forbidden",
                    "The directive %TAG is not allowed.",
                    offset,
                    "Remove the directive.",
                )

    def fail_syntax(self, error: yaml.YAMLError) -> None:
        """Turn an error of the parser into a problem."""
        if isinstance(error, yaml.reader.ReaderError):
            self._fail_character(error)
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        context = getattr(error, "context", None)
        is_character = "Unicode character" in problem
        self._builder.fail(
            "bad_character" if is_character else "yaml_syntax",
            f"This is no sound YAML: {f'{context}, ' if context else ''}{problem}.",
            mark.index if mark else 0,
            _SYNTAX_HINTS.get(problem, "Check indentation, quotes and brackets before this place."),
        )

    def _fail_character(self, error: Any) -> None:
        # The position of a reader's error counts bytes.
        before = self._text.encode()[: error.position].decode(errors="ignore")
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        self._builder.fail(
            "bad_character",
            f"The file holds the character {describe(chr(code))}, which YAML does not allow.",
            len(before),
            "Remove the character, or write it as an escape in double quotes.",
        )


_SYNTAX_HINTS = {
    "found character that cannot start any token": (
        "Indent with spaces, not tabs, and quote text that starts with @ or `."
    ),
    "mapping values are not allowed in this context": (
        "Put text that holds ': ' into double quotes."
    ),
}
