"""A pinned dataset version as an algorithm gets it: its bytes as a local file, checked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from executors.base import DatasetRef
from executors.runtime.egress import open_checked
from executors.runtime.errors import InvalidInputError
from executors.runtime.fetching import copy_stream
from executors.store import get_local_path, get_scheme, is_local, open_filesystem

_HTTP_SCHEMES = ("http", "https")
_STORE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "oss", "hdfs", "webhdfs", "memory")
MAX_FETCHED_BYTES = 32 << 30
"""No dataset whose size is not known is fetched beyond this."""
_CHANGED_HINT = "Register the present file as a new version of the dataset."


class FetchedDataset:
    """What `context.dataset` returns; see `algorithms.base.Dataset`."""

    def __init__(self, ref: DatasetRef, make_workdir: Callable[[], Path]) -> None:
        self._ref = ref
        self._make_workdir = make_workdir
        self._path: Path | None = None

    @property
    def id(self) -> str:
        """Id of the dataset."""
        return self._ref.id

    @property
    def version(self) -> int:
        """Number of the pinned version."""
        return self._ref.version

    @property
    def uri(self) -> str:
        """Where it lies."""
        return self._ref.uri

    @property
    def format(self) -> str:
        """Declared format; empty = by the name's ending."""
        return self._ref.format

    @property
    def options(self) -> Mapping[str, Any]:
        """How it is to be read."""
        return self._ref.options

    def path(self) -> Path:
        """Return a local file with its bytes: fetched and checked where it lies elsewhere."""
        if self._path is None:
            check_uri(self._ref.uri)
            self._path = self._find_local() if is_local(self._ref.uri) else self._fetch()
        return self._path

    def _find_local(self) -> Path:
        path = Path(get_local_path(self._ref.uri))
        try:
            found = os.lstat(path)
        except OSError as error:
            raise InvalidInputError(
                f"The file {path} of dataset {self.id!r} cannot be read: {error.strerror}.",
                "Datasets must lie where every operator engine can read them.",
            ) from error
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInputError(f"Dataset {self.id!r}: {path} is not a plain file.")
        self._check_size(found.st_size)
        return path

    def _fetch(self) -> Path:
        folder = self._make_workdir() / "datasets"
        folder.mkdir(exist_ok=True)
        target = folder / (PurePosixPath(urlsplit(self.uri).path).name or "dataset")
        with target.open("wb") as file:
            if get_scheme(self.uri) in _HTTP_SCHEMES:
                digest = _download(self._ref, file)
            else:
                filesystem, path = open_filesystem(self.uri)
                with filesystem.open(path, "rb") as source:
                    digest = copy_stream(source, file)
        self._check_size(target.stat().st_size)
        if self._ref.sha256 and digest != self._ref.sha256:
            raise InvalidInputError(
                f"Dataset {self.id!r} at {self.uri} has changed since version {self.version} was "
                f"registered: digest {digest[:12]}…, {self._ref.sha256[:12]}… was expected.",
                _CHANGED_HINT,
            )
        return target

    def _check_size(self, actual: int) -> None:
        if self._ref.size_bytes and actual != self._ref.size_bytes:
            raise InvalidInputError(
                f"Dataset {self.id!r} at {self.uri} has changed since version {self.version} was "
                f"registered: {actual} bytes, {self._ref.size_bytes} were expected.",
                _CHANGED_HINT,
            )


def check_uri(uri: str) -> None:
    """Raise unless the place is of a kind that datasets may lie in.

    The dag engine has checked that it lies below an allowed root; this holds even if it has not.
    """
    scheme = get_scheme(uri)
    is_allowed = scheme in ("file", *_HTTP_SCHEMES, *_STORE_SCHEMES) and "::" not in uri
    if not is_allowed:
        raise InvalidInputError(
            f"No dataset may lie at {uri}.",
            f"Allowed are paths and {', '.join((*_HTTP_SCHEMES, *_STORE_SCHEMES))} URLs.",
        )
    path = get_local_path(uri) if scheme == "file" else urlsplit(uri).path
    if ".." in path.split("/") or (scheme == "file" and not path.startswith("/")):
        raise InvalidInputError(f"The path {uri} of a dataset must be absolute, without '..'.")


def _download(ref: DatasetRef, file: Any) -> str:
    import requests
    import urllib3

    limit = ref.size_bytes or MAX_FETCHED_BYTES
    with open_checked(ref.uri, allows_private=ref.is_private) as reply:
        if reply.status_code != requests.codes.ok:
            raise InvalidInputError(
                f"{ref.uri} answered {reply.status_code}; 200 was expected.",
                "Redirects are not followed: register the final address.",
            )
        try:
            return copy_stream(_Limited(reply.raw, limit), file)
        except urllib3.exceptions.HTTPError as error:
            raise InvalidInputError(f"{ref.uri} cannot be read to its end: {error}.") from error


class _Limited:
    """Ends the reading of a stream that goes on beyond what was announced."""

    def __init__(self, source: Any, limit_bytes: int) -> None:
        self._source = source
        self._limit_bytes = limit_bytes
        self._n_bytes = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._source.read(size)
        self._n_bytes += len(data)
        if self._n_bytes > self._limit_bytes:
            raise InvalidInputError(
                f"More than the {self._limit_bytes} bytes came that were expected.", _CHANGED_HINT
            )
        return data
