"""Where things lie in the artifact store: folder names, the marker file, opening by URL.

A store is an fsspec URL. Local stores (`file://…` or an absolute path) are served without fsspec,
which is imported for the others only.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

MARKER_NAME = ".dagengine-store"
_FILE_SCHEME = "file://"
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


def get_scheme(url: str) -> str:
    """Return the scheme of a URL; `file` for a bare path."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else "file"


def is_local(url: str) -> bool:
    """Tell whether a URL names something on this machine's file system."""
    return url.startswith(_FILE_SCHEME) or get_scheme(url) == "file"


def get_local_path(url: str) -> str:
    """Return the path of a local URL; text after `file://` is taken as it is, not unquoted."""
    if url.startswith(_FILE_SCHEME):
        return url[len(_FILE_SCHEME) :]
    if not is_local(url):
        raise ValueError(f"{url} is not on this machine")
    return url


def make_file_url(path: str | Path) -> str:
    """Return the `file://` URL of a path, made absolute."""
    return _FILE_SCHEME + os.path.abspath(path)


def join_url(url: str, *parts: str) -> str:
    """Put names below a URL."""
    return "/".join([url.rstrip("/"), *parts])


def make_safe_name(name: str) -> str:
    """Make one folder name of any text: what is not a letter, digit, `-`, `_` or `.` is quoted."""
    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if quoted.strip(".") == "" else quoted


def make_attempt_folder(store_url: str, run_id: str, index: int, attempt: int) -> str:
    """Return the URL of an attempt's own folder of artifacts."""
    return join_url(store_url, "runs", run_id, str(index), str(attempt))


N_FOLDERS_ABOVE_ATTEMPT = 3
"""The folders between the store and that of an attempt: `runs`, the run's, the task's."""


def make_run_folder(store_url: str, run_id: str) -> str:
    """Return the URL of the folder that holds all artifacts of a run."""
    return join_url(store_url, "runs", run_id)


def make_dataset_folder(store_url: str, namespace: str, dataset_id: str, version: int) -> str:
    """Return the URL of the folder of one version of an uploaded dataset."""
    return join_url(store_url, "datasets", namespace, make_safe_name(dataset_id), f"v{version}")


def make_log_url(store_url: str, run_id: str, index: int, attempt: int) -> str:
    """Return the URL of an attempt's log."""
    return join_url(store_url, "logs", run_id, f"{index}.{attempt}.log")


def make_work_folder(home: str, attempt_id: str) -> str:
    """Return the path of an attempt's private folder; whoever ends the attempt removes it."""
    return os.path.join(home, "work", attempt_id)


def open_url(url: str, mode: str = "rb") -> IO[Any]:
    """Open a file of a store for reading or writing bytes."""
    if is_local(url):
        return open(get_local_path(url), mode)
    filesystem, path = open_filesystem(url)
    opened: IO[Any] = filesystem.open(path, mode)
    return opened


def open_filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system behind a URL and the path in it."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


def remove_folder(url: str) -> None:
    """Remove a folder of a store with all that is in it; one that is not there is no error.

    Raises `OSError`, or what a remote store's library raises, where a part of it may be left.
    """
    if is_local(url):
        _remove_local_folder(get_local_path(url))
        return
    filesystem, path = open_filesystem(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def _remove_local_folder(path: str) -> None:
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        # Somebody else removed a part of it meanwhile, which ends rmtree, unless it was all.
        if os.path.lexists(path):
            raise


def read_marker(store_url: str) -> str | None:
    """Return the random text that tells this store from others; None where there is none."""
    try:
        with open_url(join_url(store_url, MARKER_NAME)) as file:
            return bytes(file.read(256)).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None


def ensure_marker(store_url: str) -> str:
    """Return the store's marker; make the store and its marker where there is none yet."""
    if is_local(store_url):
        return _ensure_local_marker(Path(get_local_path(store_url)))
    marker = read_marker(store_url)
    if marker is None:
        with open_url(join_url(store_url, MARKER_NAME), "wb") as file:
            file.write(secrets.token_hex(16).encode())
        marker = read_marker(store_url)
    if marker is None:
        raise OSError(f"The store {store_url} does not give back what was written to it.")
    return marker


def _ensure_local_marker(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MARKER_NAME
    if not path.exists():
        # Written aside and linked into place: of several that start at once, one wins whole.
        fresh = folder / f"{MARKER_NAME}.{secrets.token_hex(8)}"
        fresh.write_text(secrets.token_hex(16), encoding="ascii")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text(encoding="ascii").strip()
