"""Which files may become datasets in place: those below a root that the configuration allows."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import stat
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import msgspec

from dag_engine.api.errors import UnprocessableError
from executors.base import DatasetRef
from executors.store import get_local_path, get_scheme, is_local, make_file_url

_CHUNK_BYTES = 1024 * 1024
_NAME_LIMIT = 120
_UNWANTED = re.compile(r"[^\w.()+-]+")
_DATASET_ID = re.compile(r"\w[\w.-]{0,127}")
_FORMATS = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_REMOTE_SCHEMES = frozenset(
    {"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "oss", "hdfs", "webhdfs"}
)
_SAME_STORES = {
    "https": "http", "s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "webhdfs": "hdfs",
}  # fmt: skip
_COMPRESSED = ".gz"


@dataclass(frozen=True, slots=True)
class Source:
    """What a dataset version is made of; an empty digest means that it was not read."""

    uri: str
    filename: str
    size_bytes: int = 0
    sha256: str = ""


def check_dataset_id(dataset_id: str) -> str:
    """Return the id in its normal form, or refuse it."""
    normal = unicodedata.normalize("NFC", dataset_id)
    if not _DATASET_ID.fullmatch(normal):
        raise UnprocessableError(
            "bad_dataset_id",
            f"{dataset_id[:100]!r} cannot be the id of a dataset.",
            "Begin with a letter or digit; then up to 127 letters, digits, points, '_' or '-'.",
        )
    return normal


def safe_filename(name: str) -> str:
    """Make a plain file name of what a client called its file: no folders, nothing hidden."""
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    cleaned = _UNWANTED.sub("_", base).strip("._ ")
    stem, suffix = os.path.splitext(cleaned)
    while len((stem + suffix).encode()) > _NAME_LIMIT and stem:
        stem = stem[:-1]
    return (stem + suffix) if stem else "data"


def find_format(filename: str, named: str = "") -> str:
    """Tell the format by the name's ending, unless it is named."""
    known = sorted(set(_FORMATS.values()))
    if named:
        if named not in known:
            raise UnprocessableError(
                "bad_format", f"The format {named[:50]!r} is not known.", f"Known: {known}."
            )
        return named
    lowered = filename.lower().removesuffix(_COMPRESSED)
    found = _FORMATS.get(os.path.splitext(lowered)[1])
    if found is None:
        endings = ", ".join(_FORMATS)
        raise UnprocessableError(
            "unknown_format",
            f"The format of {filename!r} cannot be told by its ending.",
            f"Name one of {known} as format, or use an ending of {endings} (also with .gz).",
        )
    return found


def find_source(uri: str, roots: tuple[str, ...], private: tuple[str, ...] = ()) -> Source:
    """Find a file or URL that lies below one of the roots; a local file is read for its digest.

    `private` are the service's own folders: what lies in one is found below a root within it only,
    not below one that happens to hold the folder. Uploads of all namespaces lie there.
    """
    if not roots:
        raise _refuse(uri, "The configuration allows no root.")
    if get_scheme(uri) in _REMOTE_SCHEMES:
        return _find_remote(uri, roots, private)
    if not is_local(uri):
        raise _refuse(uri, "Its scheme is not one that is read.")
    return _find_local(uri, roots, private)


def _refuse(uri: str, why: str) -> UnprocessableError:
    return UnprocessableError(
        "source_refused",
        f"{uri[:200]!r} cannot become a dataset in place. {why}",
        "Name a file or URL below one of the configuration's datasets.roots, or upload the file.",
    )


def _find_remote(uri: str, roots: tuple[str, ...], private: tuple[str, ...]) -> Source:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _refuse(uri, "It is no URL.") from error
    path = unquote(unquote(parts.path))
    steps = path.split("/")
    is_odd = "\\" in path or "\x00" in path or any(step in (".", "..") for step in steps)
    if is_odd or "" in steps[1:-1] or "@" in parts.netloc or parts.fragment:
        raise _refuse(uri, "It holds steps, names or marks that may lead elsewhere.")
    for folder in private:
        if _is_within(uri, folder):
            roots = tuple(root for root in roots if _is_within(root, folder))
    for root in roots:
        prefix = root.rstrip("/") + "/"
        if get_scheme(root) == parts.scheme and uri.startswith(prefix) and len(uri) > len(prefix):
            return Source(uri, safe_filename(path))
    raise _refuse(uri, "It lies below none of the roots.")


def _is_within(uri: str, folder: str) -> bool:
    """Tell whether a URL leads into a folder, however it is written."""
    place, above = _find_place(uri), _find_place(folder)
    return len(place) > len(above) and place[: len(above)] == above


def _find_place(uri: str) -> tuple[str, ...]:
    """Name a place in a store so that all its spellings are equal: the kind of store, the host or
    bucket, the steps of the path. A port tells nothing apart: the same store has several.
    """
    scheme = get_scheme(uri)
    kind = _SAME_STORES.get(scheme, scheme)
    try:
        parts = urlsplit(uri)
    except ValueError:
        return (kind, uri)
    # in abfs://container@account.example/ the host stands behind the bucket
    host = parts.netloc.partition("@")[0].lower() if kind == "az" else _host_of(uri)
    return (kind, host, *filter(None, unquote(unquote(parts.path)).split("/")))


def set_reach(
    ref: DatasetRef, roots: tuple[str, ...], private_hosts: tuple[str, ...]
) -> DatasetRef:
    """Say in a reference whether its host may lie in a private network.

    It may where the configuration names the host, or a root that is a private address itself: a
    name can be made to lead inside by whoever answers for it, an address cannot.
    """
    if get_scheme(ref.uri) not in ("http", "https"):
        return ref
    host = _host_of(ref.uri)
    named = {name.lower().rstrip(".") for name in private_hosts}
    is_private = host in named or (
        _is_inside(host) and any(_host_of(root) == host for root in roots)
    )
    return msgspec.structs.replace(ref, is_private=is_private)


def _host_of(uri: str) -> str:
    try:
        return (urlsplit(uri).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_inside(host: str) -> bool:
    try:
        return host == "localhost" or not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def _find_local(uri: str, roots: tuple[str, ...], private: tuple[str, ...]) -> Source:
    path = get_local_path(uri)
    if not os.path.isabs(path) or "\x00" in path:
        raise _refuse(uri, "A path must be absolute.")
    real = os.path.realpath(path)
    above = [root for root in roots if is_local(root) and _is_below(real, root)]
    for folder in filter(is_local, private):
        if _is_below(real, folder):
            above = [root for root in above if _is_below(get_local_path(root), folder)]
    if not above:
        # the same words whether it exists or not: nothing is told of what lies elsewhere
        raise _refuse(uri, "It lies below none of the roots.")
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refuse(uri, f"It cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _refuse(uri, "It is not a file.")
        digest = hashlib.sha256()
        size = 0
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return Source(make_file_url(real), os.path.basename(real), size, digest.hexdigest())


def _is_below(path: str, root: str) -> bool:
    real, folder = os.path.realpath(path), os.path.realpath(get_local_path(root))
    return os.path.commonpath([real, folder]) == folder and real != folder
