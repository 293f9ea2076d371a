"""The catalogue of algorithms as an operator engine keeps it, without importing any of them.

A process on the workers' side imports the algorithms and tells what they offer; the answer is kept
in `<home>/catalogue.json` for as long as none of the files changes.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from executors.base import AlgorithmOffer
from executors.errors import CatalogueError

CACHE_NAME = "catalogue.json"
_ENTRY_POINT_GROUP = "dagengine.algorithms"
_TIMEOUT_S = 120.0
_FORMAT = 1
"""Raised when the meaning of the kept file changes."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: the offers, every file with its digest, and what is wrong with some."""

    offers: list[AlgorithmOffer] = []
    files: dict[str, str] = {}
    problems: list[str] = []


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The cache file: a listing, and what it was made from."""

    format: int
    key: str
    listing: Listing


def load_catalogue(home: str | Path, algorithm_paths: Iterable[str] = ()) -> list[AlgorithmOffer]:
    """Return what the algorithms on this machine offer.

    Parameters
    ----------
    home : str or Path
        The folder in which the answer is kept.
    algorithm_paths : iterable of str
        Folders with algorithms beside the installed ones.

    Raises
    ------
    CatalogueError
        If a file cannot be imported, or two algorithms have one name; it names the files.
    """
    paths = [os.path.abspath(path) for path in algorithm_paths]
    cache_path = Path(home) / CACHE_NAME
    key = _make_key(paths)
    listing = _read_kept(cache_path, key)
    if listing is None:
        listing = _make_listing(paths)
        _keep(cache_path, _Kept(format=_FORMAT, key=key, listing=listing))
    if listing.problems:
        raise CatalogueError(listing.problems)
    return listing.offers


def digest_catalogue(offers: Iterable[AlgorithmOffer]) -> str:
    """Return a digest that changes when any offer does."""
    data = msgspec.json.encode(sorted(offers, key=lambda offer: offer.name), order="deterministic")
    return hashlib.sha256(data).hexdigest()


def _make_key(paths: list[str]) -> str:
    """Digest everything that decides what is offered: the names, sizes and contents of all files.

    Files are read, not trusted by their times: a few hundred kilobytes cost a few milliseconds.
    """
    digest = hashlib.sha256(f"{_FORMAT} {sys.version} {sys.prefix}".encode())
    for path in _list_sources(paths):
        digest.update(f"\0{path}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _list_sources(paths: list[str]) -> list[Path]:
    sources = sorted(Path(__file__).parent.glob("runtime/*.py"))
    for path in paths:
        sources += sorted(Path(path).glob("*.py"))
    for package in ("algorithms", *_list_entry_packages()):
        sources += _list_package_sources(package)
    return sources


def _list_entry_packages() -> list[str]:
    points = importlib.metadata.entry_points(group=_ENTRY_POINT_GROUP)
    return sorted({point.module.partition(".")[0] for point in points})


def _list_package_sources(package: str) -> list[Path]:
    """Find the files of a top-level package or module, which is not imported by that."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return sorted(
            source
            for folder in spec.submodule_search_locations
            for source in Path(folder).rglob("*.py")
        )
    return [Path(spec.origin)] if spec.origin else []


def _read_kept(path: Path, key: str) -> Listing | None:
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None
    return kept.listing if kept.key == key and kept.format == _FORMAT else None


def _keep(path: Path, kept: _Kept) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(msgspec.json.encode(kept))
    partial.replace(path)


def _make_listing(paths: list[str]) -> Listing:
    command = [sys.executable, "-m", "executors.runtime.catalogue", *paths]
    try:
        finished = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=True)
        return msgspec.json.decode(finished.stdout, type=Listing)
    except subprocess.TimeoutExpired as error:
        raise CatalogueError([f"Importing the algorithms took over {_TIMEOUT_S:.0f} s."]) from error
    except (subprocess.CalledProcessError, msgspec.DecodeError) as error:
        said = getattr(error, "stderr", b"") or b""
        text = said.decode("utf-8", "replace").strip()[-2000:]
        raise CatalogueError([f"The algorithms cannot be listed: {text or error}"]) from error
