"""Where the dag engine may be reached: several addresses where several dag engines run."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

REPORTS_PATH = "/internal/v1/reports"


class DagEngineAddresses:
    """The configured addresses, in turn: the one that answered last is used until it fails.

    Any of them will do, since each api passes on to whichever scheduler leads. Used by any thread.

    Parameters
    ----------
    urls : str
        One URL, or several separated by commas.
    """

    def __init__(self, urls: str) -> None:
        self._urls = [url for word in urls.split(",") if (url := word.strip().rstrip("/"))]
        self._place = 0
        self._lock = threading.Lock()

    @property
    def current(self) -> str:
        """The address to use now; empty where none is configured."""
        with self._lock:
            return self._urls[self._place] if self._urls else ""

    def give_up(self, url: str) -> None:
        """Go on to the next address, unless another call has done so since `url` was looked up."""
        with self._lock:
            if self._urls and self._urls[self._place] == url:
                self._place = (self._place + 1) % len(self._urls)


def complete_reports_url(reports_url: str, dag_engine_url: str) -> str:
    """Return the full URL of the reports, whether the dag engine gave a path with it or not."""
    if not reports_url:
        return dag_engine_url.rstrip("/") + REPORTS_PATH
    if urlsplit(reports_url).path in ("", "/"):
        return reports_url.rstrip("/") + REPORTS_PATH
    return reports_url
