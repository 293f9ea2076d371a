"""Writes a plain value as YAML or JSON that reads back as the same value."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_MAX_SIMPLE_KEY = 100

# Text that every reader of YAML, old or new, takes for the same text when it is not quoted: it
# starts like no number and, but for a few words, means nothing else.
_SAFE_PLAIN = re.compile(
    r"(?:[A-Za-z_/]|[^\W\d_])(?:[\w ./()%+*-]*[\w/()%+*-])?", re.UNICODE
).fullmatch
_OLD_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})

# What the JSON form of a string leaves bare but YAML does not allow, or takes for a line break.
_NOT_BARE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def render_json(value: Any) -> str:
    """Write JSON, indented, Chinese as Chinese."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def render_yaml(value: Any) -> str:
    """Write YAML: mappings in block style, lists of scalars on one line."""
    lines: list[str] = []
    _write_block(value, "", "", lines)
    return "\n".join(lines) + "\n"


# Recursion is bounded: a document is no deeper than `limits.MAX_DEPTH`.
def _write_block(value: Any, indent: str, lead: str, lines: list[str]) -> None:
    """Write a value below `lead`, what already stands on its first line."""
    if isinstance(value, dict) and value:
        _write_mapping(value, indent, lead, lines)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        _write_list(value, indent, lead, lines)
    elif isinstance(value, list):
        lines.append(f"{lead}[{', '.join(map(write_scalar, value))}]")
    else:
        lines.append(lead + ("{}" if isinstance(value, dict) else write_scalar(value)))


def _write_mapping(value: dict[str, Any], indent: str, lead: str, lines: list[str]) -> None:
    for key, item in value.items():
        name = write_scalar(key)
        if len(name) > _MAX_SIMPLE_KEY:
            lines.append(f"{lead}? {name}")
            head = f"{indent}:"
        else:
            head = f"{lead}{name}:"
        if _is_nested(item):
            if isinstance(item, dict):
                lines.append(head)
                _write_block(item, indent + "  ", indent + "  ", lines)
            else:
                lines.append(head)
                _write_block(item, indent, indent, lines)
        else:
            _write_block(item, indent, head + " ", lines)
        lead = indent


def _write_list(value: list[Any], indent: str, lead: str, lines: list[str]) -> None:
    for item in value:
        _write_block(item, indent + "  ", f"{lead}- ", lines)
        lead = indent


def _is_nested(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value)
    return isinstance(value, list) and any(isinstance(item, dict | list) for item in value)


def write_scalar(value: Any) -> str:
    """Write a scalar; text is quoted unless every reader takes it for the same text.

    >>> [write_scalar(value) for value in (None, True, 1e16, "讀文件", "no", "1", "a: b")]
    ['null', 'true', '1.0e+16', '讀文件', '"no"', '"1"', '"a: b"']
    """
    if isinstance(value, str):
        return _write_text(value)
    if isinstance(value, float):
        text = repr(value)
        # Without a dot old readers take a number with an exponent for text.
        return text.replace("e", ".0e") if "e" in text and "." not in text else text
    return json.dumps(value)


def _write_text(text: str) -> str:
    if _SAFE_PLAIN(text) and text.casefold() not in _OLD_WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _NOT_BARE.sub(lambda match: f"\\u{ord(match.group()):04x}", quoted)
