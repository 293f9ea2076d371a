"""Keeps logs and releases ends once they are acknowledged."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO, Any

from executors.base import BaseExecutor
from executors.errors import UnknownAttemptError
from executors.log_reading import open_log
from executors.plain_files import open_plain
from executors.store import get_local_path, is_local, make_log_url, open_filesystem, open_url
from operator_engine.outbox import Release

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1024 * 1024
_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 10.0
_MAX_TRIES = 30


class Releaser:
    """Copies logs to the store where they are written elsewhere, then releases the attempts.

    Parameters
    ----------
    get_executor : callable
        Returns the client of an executor by name; None while it cannot be made.
    logs : str
        Folder in which attempts may write their logs.
    store_url : str
        The store that is to have them.
    is_folder_in_store : bool
        Whether that folder is the store's own: what is written there need not be copied.
    """

    def __init__(
        self,
        get_executor: Callable[[str], BaseExecutor | None],
        logs: str,
        store_url: str,
        *,
        is_folder_in_store: bool,
    ) -> None:
        self._get_executor = get_executor
        self._logs = logs
        self._store_url = store_url
        self._is_folder_in_store = is_folder_in_store
        self._queue: deque[Release] = deque()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="releaser", daemon=True)

    def start(self) -> None:
        """Start working."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present attempt; the others are told again after a restart."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        self._thread.join(2.0)

    def put(self, releases: list[Release]) -> None:
        """Queue ends that were acknowledged."""
        with self._changed:
            self._queue.extend(releases)
            self._changed.notify()

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, pause_s)
                self._changed.wait_for(lambda: self._queue or self._is_stopped)
                if self._is_stopped:
                    return
                batch = list(self._queue)
                self._queue.clear()
            kept: list[Release] = []
            left: list[Release] = []
            for item in batch:
                is_kept = self._is_log_in_store(item) or self._keep_log(item)
                (kept if is_kept else left).append(item)
            self._release(kept)
            pause_s = min(_MAX_PAUSE_S, pause_s * 2 or _FIRST_PAUSE_S) if left else 0.0
            self.put(left)

    def _release(self, batch: list[Release]) -> None:
        by_executor: dict[str, list[str]] = {}
        for item in batch:
            by_executor.setdefault(item.executor, []).append(item.attempt_id)
        for name, attempt_ids in by_executor.items():
            executor = self._get_executor(name)
            if executor is None:
                continue
            try:
                executor.release([executor.handle_of(attempt_id) for attempt_id in attempt_ids])
            except Exception as error:  # noqa: BLE001 - a third party's code; the end is told again
                log.warning("release_failed executor=%s detail=%s", name, error)

    def _is_log_in_store(self, item: Release) -> bool:
        if not self._is_folder_in_store:
            return False
        executor = self._get_executor(item.executor)
        return executor is None or executor.writes_logs_to_folder

    def _keep_log(self, item: Release) -> bool:
        """Copy one log to the store; tell whether its attempt may be released."""
        run_id, index, attempt = item.attempt_id.rsplit(".", 2)
        target = make_log_url(self._store_url, run_id, int(index), int(attempt))
        source = os.path.join(self._logs, run_id, f"{index}.{attempt}.log")
        try:
            if not os.path.exists(source):
                self._copy_from_executor(item, target)
            elif not self._is_folder_in_store:
                _copy_file(source, target)
        except Exception as error:  # noqa: BLE001 - file systems of fsspec raise what they like
            item.n_tries += 1
            log.warning(
                "log_not_kept attempt_id=%s tries=%d detail=%s",
                item.attempt_id,
                item.n_tries,
                error,
            )
            return item.n_tries >= _MAX_TRIES
        return True

    def _copy_from_executor(self, item: Release, target: str) -> None:
        executor = self._get_executor(item.executor)
        if executor is None:
            return
        texts = _read_log(executor, executor.handle_of(item.attempt_id))
        first = next(texts, "")
        if not first:
            return
        with _open_for_writing(target) as kept:
            for text in itertools.chain([first], texts):
                kept.write(text.encode())


def _copy_file(source: str, target: str) -> None:
    with open_log(source) as (file, size_bytes), _open_for_writing(target) as kept:
        while chunk := file.read(min(_CHUNK_BYTES, size_bytes - file.tell())):
            kept.write(chunk)


def _open_for_writing(url: str) -> IO[Any]:
    """Open a file of the store for writing, with the folders above it."""
    if is_local(url):
        path = get_local_path(url)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb")
    filesystem, path = open_filesystem(url)
    filesystem.makedirs(os.path.dirname(path), exist_ok=True)
    return open_url(url, "wb")


def _read_log(executor: BaseExecutor, handle: str) -> Iterator[str]:
    """Read a log through its executor; an executor that has none gives nothing."""
    offset = 0
    while True:
        try:
            chunk = executor.read_log(handle, offset, _CHUNK_BYTES)
        except UnknownAttemptError:
            return
        yield chunk.text
        if chunk.next_offset <= offset:
            return
        offset = chunk.next_offset
