"""The context that a running attempt gets: its log, its voice, its private folder, its data."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from algorithms.base import Connection, Context
from executors.base import ExecutorSettings, Outcome, Progress, Task
from executors.masking import Masker
from executors.runtime.artifacts import ArtifactReader
from executors.runtime.errors import InvalidInputError
from executors.runtime.failures import make_encodable
from executors.store import make_work_folder

if TYPE_CHECKING:
    from executors.runtime.datasets import FetchedDataset

TELL_INTERVAL_S = 0.25
"""Progress and metrics are told at most this often; the last ones come with the outcome."""


class AttemptContext(Context):
    """What `run_attempt` hands to the algorithm.

    Parameters
    ----------
    task : Task
        The attempt.
    settings : ExecutorSettings
        Where the private folder lies, and which store is the installation's.
    tell : callable
        Takes outcomes of kind `progress`.
    is_cancelled : callable
        Tells whether someone asked to stop.
    masker : Masker, optional
        Takes the task's secrets out of what is told.
    """

    def __init__(
        self,
        task: Task,
        settings: ExecutorSettings,
        tell: Callable[[Outcome], None],
        is_cancelled: Callable[[], bool],
        masker: Masker | None = None,
    ) -> None:
        super().__init__(task.seed, task.algorithm)
        self.has_read_seed = False
        self.last_progress: Progress | None = None
        self._task = task
        self._settings = settings
        self._tell = tell
        self._is_cancelled = is_cancelled
        self._masker = masker
        self._log: logging.Logger | None = None
        self._workdir: Path | None = None
        self._told_at = 0.0
        self.reader = ArtifactReader(settings.store_url, lambda: self.workdir)

    @property
    def seed(self) -> int:
        """The attempt's seed; who reads it has a result that another seed does not give."""
        self.has_read_seed = True
        return self._seed

    @seed.setter
    def seed(self, value: int) -> None:
        self._seed = value

    @property
    def log(self) -> logging.Logger:
        """A logger of this attempt alone, which writes to what stdout is just then."""
        if self._log is None:
            self._log = make_logger(self._task.algorithm)
        return self._log

    @property
    def workdir(self) -> Path:
        """The attempt's private folder, made on first use."""
        if self._workdir is None:
            path = Path(make_work_folder(self._settings.home, self._task.attempt_id))
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._workdir = path
        return self._workdir

    def progress(self, done: float, total: float = 0, message: str = "") -> None:
        """Tell how far the work is; what comes too fast is told later or with the end."""
        if not (math.isfinite(done) and math.isfinite(total)):
            done = total = 0.0
        self.last_progress = Progress(
            done=float(done), total=float(total), message=self._clean(message)
        )
        self._tell_soon()

    def metric(self, name: str, value: float) -> None:
        """Record a number under a name."""
        if not math.isfinite(value):
            self.log.warning("Metric %s is %s and is not recorded: no finite number.", name, value)
            return
        super().metric(self._clean(name), value)
        self._tell_soon()

    def _clean(self, text: object) -> str:
        words = str(text)
        return make_encodable(self._masker.mask(words) if self._masker else words)

    def cancelled(self) -> bool:
        """Tell whether someone asked to stop."""
        return self._is_cancelled()

    def dataset(self, data_id: str | int) -> FetchedDataset:
        """Return the pinned version of a dataset."""
        from executors.runtime.datasets import FetchedDataset

        ref = self._task.datasets.get(str(data_id))
        if ref is None:
            raise InvalidInputError(
                f"The task carries no dataset {str(data_id)!r}.",
                "A parameter that names a dataset must have the format dataset-id in its schema.",
            )
        return FetchedDataset(ref, lambda: self.workdir)

    def connection(self, name: str) -> Connection:
        """Return a reader on a named database connection."""
        from executors.runtime.connections import open_connection

        found = self._task.connections.get(name)
        if found is None:
            raise InvalidInputError(
                f"The task carries no connection {name!r}.",
                "Store it with `dagengine connections add NAME`, and give the parameter the format "
                "connection in its schema.",
            )
        return open_connection(name, found)

    def secret(self, name: str) -> str:
        """Return a stored secret."""
        found = self._task.secrets.get(name)
        if found is None:
            raise InvalidInputError(
                "The task carries no secret of this name.",
                "Store it with `dagengine secrets add NAME`, and give the parameter that names it "
                "the format secret in its schema.",
            )
        return found

    def load(self, reference: Any) -> Any:
        """Open an artifact's reference."""
        return self.reader.load(reference)

    def close(self) -> None:
        """Remove the private folder, where one was made."""
        if self._workdir is not None:
            shutil.rmtree(self._workdir, ignore_errors=True)
            self._workdir = None

    def show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Write a Python warning into the log; takes the place of `warnings.showwarning`."""
        del file, line
        self.log.warning("%s: %s (%s:%d)", category.__name__, message, filename, lineno)

    @contextlib.contextmanager
    def catch_warnings(self) -> Iterator[None]:
        """Send Python warnings to the log; entering forgets which were shown before, as a warm
        worker must.
        """
        with warnings.catch_warnings():
            warnings.showwarning = self.show_warning  # restored by the block
            yield

    def _tell_soon(self) -> None:
        now = time.monotonic()
        if now - self._told_at < TELL_INTERVAL_S:
            return
        self._told_at = now
        self._tell(
            Outcome(
                attempt_id=self._task.attempt_id,
                kind="progress",
                progress=self.last_progress,
                metrics=dict(self.metrics),
            )
        )


class _StdoutHandler(logging.Handler):
    """Writes to what `sys.stdout` is at that moment, since workers change it per attempt."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 - a broken log line must not fail the task
            self.handleError(record)


_handler = _StdoutHandler()
_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))


def make_logger(name: str) -> logging.Logger:
    """Make a logger outside the process-wide tree: it belongs to one attempt."""
    logger = logging.Logger(name, logging.INFO)  # noqa: LOG001 - dropped with its attempt
    logger.addHandler(_handler)
    return logger
