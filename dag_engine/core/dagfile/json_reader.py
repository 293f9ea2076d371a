"""Reads JSON without recursion, with an offset for every value.

The standard library's reader recurses, takes the last of two equal keys, accepts NaN and knows no
positions; so only its string scanner, which is written in C, is used.
"""

from __future__ import annotations

import re
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in the stubs
from typing import Any, NoReturn

from dag_engine.core.dagfile.characters import describe, find_forbidden
from dag_engine.core.dagfile.limits import MAX_NODES
from dag_engine.core.dagfile.scalars import ScalarError, read_float, read_integer
from dag_engine.core.dagfile.tree import TreeBuilder

_BLANKS = frozenset(" \t\r\n")
_SPACE = re.compile(r"[ \t\r\n]*+").match
# Strings without escapes, which nearly all are, need no further look.
_EASY_STRING = re.compile(r'"([^"\\\x00-\x1f]*+)"').match
_EASY_KEY = re.compile(r'[ \t\r\n]*+"([^"\\\x00-\x1f]*+)"[ \t\r\n]*+:').match
_NUMBER = re.compile(r"-?+(?:0|[1-9][0-9]*+)(\.[0-9]++)?+([eE][-+]?+[0-9]++)?+").match
_WORD = re.compile(r"-?+[A-Za-z]++").match
_WORDS: dict[str, Any] = {"null": None, "true": True, "false": False}
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity", "-NaN"})


def read_json(text: str, builder: TreeBuilder) -> None:
    """Read the only value of a text into the builder."""
    _JsonReader(text, builder).read()


class _JsonReader:
    def __init__(self, text: str, builder: TreeBuilder) -> None:
        self._text = text
        self._builder = builder
        self._at = 0
        self._closers: list[str] = []
        self._is_after_value = False

    def read(self) -> None:
        """Take one value, or one bracket with what belongs to it, at a time."""
        for _ in range(MAX_NODES):
            self._skip_space()
            if self._is_after_value:
                if not self._closers:
                    self._expect_end()
                    return
                self._take_separator()
            else:
                self._take_value()
        self._builder.fail_too_many(MAX_NODES, "keys and values", self._at)

    def _skip_space(self) -> None:
        if self._text[self._at : self._at + 1] in _BLANKS:
            match = _SPACE(self._text, self._at)
            self._at = match.end() if match else self._at

    def _expect_end(self) -> None:
        if self._at < len(self._text):
            self._fail("there is something after the end of the document")

    def _take_separator(self) -> None:
        """Take the comma or the closing bracket after a value."""
        character = self._text[self._at : self._at + 1]
        if character == self._closers[-1]:
            self._at += 1
            self._closers.pop()
            self._builder.close()
        elif character == ",":
            self._at += 1
            self._is_after_value = False
            if self._closers[-1] == "}":
                self._take_key()
        else:
            self._fail(f"expected ',' or '{self._closers[-1]}'")

    def _take_key(self) -> None:
        match = _EASY_KEY(self._text, self._at)
        if match:
            self._builder.add(match[1], match.start(1) - 1)
            self._at = match.end()
            return
        self._skip_space()
        start = self._at
        if self._text[start : start + 1] != '"':
            self._fail("expected a key in double quotes")
        self._builder.add(self._read_string(start), start)
        self._skip_space()
        if self._text[self._at : self._at + 1] != ":":
            self._fail("expected ':' after the key")
        self._at += 1

    def _take_value(self) -> None:
        start = self._at
        character = self._text[start : start + 1]
        if character == '"':
            self._builder.add(self._read_string(start), start)
        elif character == "{" or character == "[":
            self._open(character, start)
            return
        else:
            self._builder.add(self._read_scalar(start), start)
        self._is_after_value = True

    def _open(self, bracket: str, start: int) -> None:
        is_mapping = bracket == "{"
        self._builder.open({} if is_mapping else [], start)
        self._closers.append("}" if is_mapping else "]")
        self._at += 1
        self._skip_space()
        if self._text[self._at : self._at + 1] == self._closers[-1]:
            self._is_after_value = True
        elif is_mapping:
            self._take_key()

    def _read_string(self, start: int) -> str:
        match = _EASY_STRING(self._text, start)
        if match:
            self._at = match.end()
            return match[1]
        value: str
        try:
            value, end = scanstring(self._text, start + 1, True)
        except JSONDecodeError as error:
            self._fail_string(error)
        self._at = end
        if len(value) != end - start - 2:
            character = find_forbidden(value)
            if character is not None:
                self._builder.report(
                    "bad_character",
                    f"The text holds the character {describe(character)}, which cannot be stored.",
                    start,
                    "Remove the character.",
                )
                return value.replace(character, "\ufffd")
        return value

    def _read_scalar(self, start: int) -> Any:
        match = _NUMBER(self._text, start)
        if match and not self._text[match.end() : match.end() + 1].isalnum():
            self._at = match.end()
            return self._read_number(match, start)
        word = _WORD(self._text, start)
        name = word.group() if word else ""
        if name not in _WORDS and name not in _NOT_FINITE:
            self._fail("expected a value")
        self._at = start + len(name)
        if name in _NOT_FINITE:
            self._builder.report(
                "not_finite", f"'{name}' is no finite number.", start, "Use null or a number."
            )
        return _WORDS.get(name)

    def _read_number(self, match: re.Match[str], start: int) -> Any:
        try:
            is_integer = match[1] is None and match[2] is None
            return read_integer(match.group()) if is_integer else read_float(match.group())
        except ScalarError as error:
            hint = "Put it into double quotes if it is text."
            self._builder.report(error.code, error.message, start, hint)
            return None

    def _fail_string(self, error: JSONDecodeError) -> NoReturn:
        if "control character" in error.msg:
            character = self._text[error.pos : error.pos + 1] or "\x00"
            self._builder.fail(
                "bad_character",
                f"The text holds the raw control character {describe(character)}.",
                error.pos,
                r"Write it as an escape (\n, \t, \u00XX).",
            )
        self._at = error.pos
        self._fail(error.msg[:1].lower() + error.msg[1:])

    def _fail(self, what: str) -> NoReturn:
        found = self._text[self._at : self._at + 10]
        self._builder.fail(
            "json_syntax",
            f"This is no sound JSON: {what}, found {found!r}."
            if found
            else f"This is no sound JSON: {what}, but the text ends here.",
            self._at,
            "Check quotes, commas and brackets before this place.",
        )
