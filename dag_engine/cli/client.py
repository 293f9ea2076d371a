"""Speaks to the API for the client commands."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import requests

from dag_engine.cli.errors import CliError, RefusedError, UnreachableError
from dag_engine.cli.options import chosen_namespace
from dag_engine.core.access import NAMESPACE_HEADER, is_loopback

TIMEOUT_S = 60.0
_UNAVAILABLE = {502, 503, 504}
_TOKEN_HINT = (
    "Name a good one with --token or DAGENGINE_TOKEN; `dagengine tokens add NAME`, where the dag "
    "engine runs, makes one."
)


class Client:
    """The API of one dag engine, with one kept connection."""

    def __init__(self, url: str, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = requests.Session()
        if is_loopback(urlsplit(self.url).hostname or ""):
            # a proxy of the environment cannot know this machine's own addresses
            self._session.trust_env = False
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        if namespace := chosen_namespace():
            self._session.headers[NAMESPACE_HEADER] = namespace

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Get a resource as plain data; `cli.controls` makes it fit to be shown."""
        return self.request("GET", path, params=params).json()

    def get_bytes(self, path: str, accept: str) -> bytes:
        """Get a resource as it is stored."""
        data: bytes = self.request("GET", path, headers={"Accept": accept}).content
        return data

    def post(self, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        """Post plain data. Each call carries its own idempotency key, so it may be repeated."""
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        reply = self.request("POST", path, params=params, json=body or {}, headers=headers)
        return reply.json() if reply.content else {}

    def post_file(
        self, path: str, file: Path, params: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Post a DAG file as it is; problems are told with the file's name."""
        headers = {"Content-Type": find_media_type(file), "Idempotency-Key": uuid.uuid4().hex}
        data = read_dag_file(file)
        reply = self.request(
            "POST", path, params=params, data=data, headers=headers, source=str(file)
        )
        answer: dict[str, Any] = reply.json()
        return answer

    def iterate(
        self, path: str, limit: int | None = 50, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Iterate over a list through its pages; `limit` None means everything."""
        n_left = limit
        cursor: str | None = None
        while n_left is None or n_left > 0:
            asked = dict(params or {}) | {"limit": min(n_left or 500, 500)}
            if cursor:
                asked["cursor"] = cursor
            page = self.get(path, asked)
            for item in page["items"][:n_left]:
                yield item
                n_left = None if n_left is None else n_left - 1
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def request(self, method: str, path: str, *, source: str = "", **options: Any) -> Any:
        """Send one request. Raises `UnreachableError` and `RefusedError`."""
        url = path if path.startswith("/") and "://" not in path else f"/{path}"
        options.setdefault("timeout", self._timeout_s)
        try:
            reply = self._session.request(method, f"{self.url}{url}", **options)
        except requests.exceptions.Timeout as error:
            raise UnreachableError(self.url, "no answer in time") from error
        except requests.exceptions.ConnectionError as error:
            raise UnreachableError(self.url, _name_cause(error)) from error
        except (requests.exceptions.RequestException, ValueError) as error:
            raise UnreachableError(self.url, str(error)) from error
        if reply.status_code >= 400:
            raise _make_error(self.url, reply, source)
        return reply


def api(*parts: str) -> str:
    """Build a path below /api/v1 from parts that may hold any character."""
    return "/api/v1/" + "/".join(quote(part, safe=":") for part in parts)


def find_media_type(file: Path) -> str:
    """Tell the media type of a DAG file by its name."""
    return "application/json" if file.suffix.lower() == ".json" else "application/yaml"


def read_dag_file(file: Path) -> bytes:
    """Read a DAG file; `-` is the standard input."""
    try:
        if str(file) == "-":
            import sys

            return sys.stdin.buffer.read()
        return file.read_bytes()
    except OSError as error:
        raise CliError(f"{file} cannot be read: {error.strerror}") from error


class MultipartFile:
    """A form with text fields and one file, read in pieces, so that the file may be of any size."""

    def __init__(self, fields: Mapping[str, str], file: Path) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        name = file.name.replace('"', "%22")
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._file: IO[bytes] = file.open("rb")
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        size = os.fstat(self._file.fileno()).st_size
        self._length = len(self._head) + size + len(self._tail)

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """Read the next piece of the request's body."""
        if self._head:
            piece, self._head = self._head, b""
            return piece
        if piece := self._file.read(size):
            return piece
        piece, self._tail = self._tail, b""
        return piece

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _name_cause(error: Exception) -> str:
    text = str(error)
    for sign, sentence in (
        ("Connection refused", "nothing listens there"),
        ("Name or service not known", "no host of that name"),
        ("No route to host", "no route to that host"),
        ("RemoteDisconnected", "the connection was closed without an answer"),
        ("Connection reset", "the connection was reset"),
    ):
        if sign in text:
            return sentence
    return text


def _make_error(url: str, reply: requests.Response, source: str) -> CliError:
    try:
        problem = reply.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict) or not problem:
        problem = {"detail": f"{url} answered {reply.status_code} {reply.reason}"}
    if reply.status_code in _UNAVAILABLE:
        return UnreachableError(url, str(problem.get("detail") or problem.get("title")).rstrip("."))
    if reply.status_code == 401:
        problem["hint"] = _TOKEN_HINT
    return RefusedError(reply.status_code, problem, source)
