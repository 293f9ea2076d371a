"""What the benchmarks of one service share: their options, the service, and what they write."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.client import ApiClient
from benchmarks.machine import describe_commit, describe_machine
from benchmarks.service import Service


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with the options of all: which database, and where results are written."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database-url", default="")
    parser.add_argument("--json", type=Path)
    return parser


@contextmanager
def running_service(
    database_url: str, results: dict[str, Any], scratch: Path | None = None
) -> Iterator[tuple[Service, ApiClient]]:
    """Run a service with an empty home, in `scratch` or a temporary folder; note in `results`
    where, and how busy that was.
    """
    with tempfile.TemporaryDirectory(prefix="dagengine_benchmark_", dir=scratch) as folder:
        results["machine"] = describe_machine(Path(folder))
        results["commit"] = describe_commit()
        results["database"] = database_url.partition("://")[0] or "sqlite"
        service = Service(Path(folder) / "home", database_url)
        service.upgrade_database()
        service.start()
        client = ApiClient(service.url)
        try:
            yield service, client
        finally:
            client.close()
            service.stop()
        results["machine"]["load_after"] = [round(value, 2) for value in os.getloadavg()]


def write_results(results: dict[str, Any], path: Path | None) -> str:
    """Write results as JSON where that was asked for; return the text."""
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    if path:
        path.write_text(text, encoding="utf-8")
    return text
