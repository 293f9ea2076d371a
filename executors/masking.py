"""Takes secrets out of text: in every form in which a program is likely to write them.

Plain text processing, without I/O; `executors.runtime.output_mask` applies it to what an attempt
writes, `mask_logging` to what a service logs.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

if TYPE_CHECKING:
    from executors.base import Task

MASK = "***"
PROCESS_NAME = "dagengine-mask"
"""What a process that filters an attempt's output calls itself; at most 15 letters."""

SHORTEST = 4
"""A shorter value cannot be taken out: it would take half of every text with it."""

_SHORTEST_LINE = 8
_SHORTEST_BASE64 = 5
_URL_PASSWORD = re.compile(
    r"(?<=://)([^\s/@:'\"\[]*)"
    r":(?!\d{1,5}/)"  # a port is no password
    r"(?:(?!://)[^\s@])*(?:@[^\s/?#@]*)*@"
)
"""Up to the first `@`, whatever stands before it, as SQLAlchemy reads it; and up to the last one of
the same host, as others do."""
_QUERY_PART = re.compile(r"(?<=[?&])([^\s=&?#\"']+)=([^\s&#\"']+)")
_DATABASE_URL = re.compile(r"^([\w+]+://[^:/]*):([^@]*)@")
"""How SQLAlchemy reads a URL with a password."""
_SECRET_NAME = re.compile(
    r"pass(word|wd|phrase)?|secret|token|credential|authorization|(^|[_.-])key$|api_?key"
    r"|signature|^sig$",
    re.IGNORECASE,
)
_HARMLESS_SETTINGS = frozenset({"drivername", "host", "port", "database", "username", "user"})


class Masker:
    """Replaces known secrets by `***`.

    Parameters
    ----------
    values : iterable of str
        The secrets; those shorter than `SHORTEST` are left out.

    Examples
    --------
    >>> Masker(["p@ss/word"]).mask("mysql://u:p%40ss%2Fword@db and p@ss/word")
    'mysql://u:***@db and ***'
    """

    def __init__(self, values: Iterable[str]) -> None:
        found = {form for value in values for form in list_forms(value)}
        self._forms = sorted((form.encode() for form in found), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms)) or rb"(?!)")

    def __bool__(self) -> bool:
        return bool(self._forms)

    def mask(self, text: str) -> str:
        """Take every secret out of a text."""
        if not self._forms:
            return text
        data = text.encode("utf-8", "surrogatepass")
        return self._pattern.sub(MASK.encode(), data).decode("utf-8", "surrogatepass")

    def mask_plain(self, value: Any) -> Any:
        """Take every secret out of the texts and keys of plain data, and leave the rest alone."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask_plain(key): self.mask_plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.mask_plain(item) for item in value]
        return value

    def open_stream(self) -> MaskedStream:
        """Return a filter for bytes that come in pieces."""
        return MaskedStream(self._pattern, self._forms)


class MaskedStream:
    """Filters bytes that come in pieces: a secret that two pieces share is found too."""

    def __init__(self, pattern: re.Pattern[bytes], forms: list[bytes]) -> None:
        self._pattern = pattern
        self._forms = forms
        self._longest = max(map(len, forms), default=0)
        self._first_bytes = {form[0] for form in forms}
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece and return what is certain: what may be the beginning of a secret waits."""
        data = self._held + data
        cut = self._find_cut(data, 0)
        parts: list[bytes] = []
        done = 0
        # Searching for each form alone is many times faster than for all at once, and finds none
        # in most of what is written.
        matches = self._pattern.finditer(data) if any(f in data for f in self._forms) else ()
        for match in matches:
            if match.start() >= cut:
                break
            parts += (data[done : match.start()], MASK.encode())
            done = match.end()
            if done > cut:
                cut = self._find_cut(data, done)
        parts.append(data[done:cut])
        self._held = data[cut:]
        return b"".join(parts)

    def finish(self) -> bytes:
        """Return what still waits; there is no more to come."""
        rest, self._held = self._held, b""
        return self._pattern.sub(MASK.encode(), rest)

    def _find_cut(self, data: bytes, start: int) -> int:
        """Find where an unfinished secret may begin; the end of the data where none does."""
        for place in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[place] in self._first_bytes:
                tail = data[place:]
                if any(len(form) > len(tail) and form.startswith(tail) for form in self._forms):
                    return place
        return len(data)


def list_forms(value: str) -> set[str]:
    """List the forms in which a secret may be written: as it is, escaped, quoted for a URL, in
    hexadecimal digits, and in base64, also as a part of something longer; and its single lines.
    """
    value = value.strip("\r\n")
    if len(value) < SHORTEST:
        return set()
    forms = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    forms.add(repr(value)[1:-1])
    for quoted in (quote(value), quote(value, safe=""), quote_plus(value)):
        forms |= {quoted, re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)}
    data = value.encode("utf-8", "surrogatepass")
    forms.add(data.hex())
    forms |= set(_list_base64(data))
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        forms |= {line for line in lines if len(line) >= _SHORTEST_LINE}
    return forms


def _list_base64(data: bytes) -> Iterator[str]:
    """Encode at each of the three places that data can have in what is encoded."""
    for n_before, n_spoiled in ((0, 0), (1, 2), (2, 3)):
        n_sure = (n_before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found = encode(b"\0" * n_before + data)[n_spoiled:n_sure].decode("ascii")
            if len(found) >= _SHORTEST_BASE64:
                yield found


def list_connection_secrets(settings: Mapping[str, Any]) -> list[str]:
    """List what is secret in a connection's settings: its URL, its password, whatever else is not
    known to be harmless.
    """
    found: list[str] = []
    for name, value in settings.items():
        if name in _HARMLESS_SETTINGS:
            continue
        found += _list_url_secrets(str(value)) if name == "url" else _list_values(value, name)
    return found


def make_task_masker(task: Task) -> Masker | None:
    """Return what takes a task's secrets out of text; None where it has none."""
    if not (task.connections or task.secrets or task.datasets):
        return None
    masker = Masker(list_task_secrets(task))
    return masker if masker else None


def list_task_secrets(task: Task) -> list[str]:
    """List what is secret in a task as its worker gets it."""
    found = list(task.secrets.values())
    for settings in task.connections.values():
        found += list_connection_secrets(settings)
    for dataset in task.datasets.values():
        if "@" in dataset.uri or "?" in dataset.uri:
            found += _list_url_secrets(dataset.uri)[1:]
        found += [str(value) for name, value in _walk(dataset.options, "") if is_secret_name(name)]
    return found


def _list_url_secrets(url: str) -> list[str]:
    found = [url]
    read = _DATABASE_URL.match(url)
    if read is not None:
        found += _list_password_forms(read[1].partition("://")[2], read[2])
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query)
    except ValueError:
        return found
    found += _list_password_forms(parts.username or "", parts.password or "")
    found += [value for name, value in query if is_secret_name(name)]
    return found


def _list_password_forms(user: str, password: str) -> list[str]:
    return [password, unquote(password), f"{user}:{password}"] if password else []


def _list_values(value: Any, name: str) -> list[str]:
    """List all texts, but of numbers those alone whose names are secret: the rest is everywhere."""
    found = _walk(value, name)
    return [str(item) for key, item in found if isinstance(item, str) or is_secret_name(key)]


def _walk(value: Any, name: str) -> Iterator[tuple[str, str | int | float]]:
    """Give the texts and numbers of plain settings, each with the name that it bears."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item, name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield name, value


def hide_url_passwords(text: str) -> str:
    """Hide the passwords of all URLs in a text, and what is secret in their queries.

    Examples
    --------
    >>> hide_url_passwords("mysql+pymysql://root:geheim@db/x")
    'mysql+pymysql://root:***@db/x'
    >>> hide_url_passwords("mysql+pymysql://root:ge/he?im@db/x")
    'mysql+pymysql://root:***@db/x'
    >>> hide_url_passwords("https://files/x.csv?token=geheim&page=2")
    'https://files/x.csv?token=***&page=2'
    """
    return _QUERY_PART.sub(_hide_query_part, _URL_PASSWORD.sub(rf"\1:{MASK}@", text))


def _hide_query_part(part: re.Match[str]) -> str:
    return f"{part[1]}={MASK}" if is_secret_name(part[1]) else part[0]


def is_secret_name(name: str) -> bool:
    """Tell whether what bears this name is likely to be a secret."""
    return _SECRET_NAME.search(name) is not None


def hide_settings(value: Any, name: str = "") -> Any:
    """Hide what is likely to be secret in plain settings: by name, and passwords in URLs."""
    if isinstance(value, Mapping):
        return {key: hide_settings(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_settings(item, name) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_secret_name(name) and (is_number or (isinstance(value, str) and value)):
        return MASK
    return hide_url_passwords(value) if isinstance(value, str) else value


def hide_connection(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Show a connection's settings with all that is secret hidden."""
    shown: dict[str, Any] = {}
    for name, value in settings.items():
        if name == "url":
            url = _DATABASE_URL.sub(rf"\1:{MASK}@", str(value))
            shown[name] = hide_url_passwords(url).partition("?")[0]
        else:
            shown[name] = value if name in _HARMLESS_SETTINGS else MASK
    return shown


class _MaskingFormatter(logging.Formatter):
    """Takes secrets out of what another formatter has made, tracebacks included."""

    def __init__(self, inner: logging.Formatter, masker: Masker) -> None:
        super().__init__()
        self._inner = inner
        self._masker = masker

    def format(self, record: logging.LogRecord) -> str:
        return hide_url_passwords(self._masker.mask(self._inner.format(record)))


def mask_logging(values: Iterable[str], logger: logging.Logger | None = None) -> None:
    """Let no handler of a logger (the root by default) write these secrets or a URL's password."""
    masker = Masker(values)
    for handler in (logger or logging.getLogger()).handlers:
        inner = handler.formatter or logging.Formatter()
        handler.setFormatter(_MaskingFormatter(inner, masker))
