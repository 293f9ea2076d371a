"""What the settings of a named connection must say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def leads_somewhere(settings: Mapping[str, Any]) -> bool:
    """Tell whether they name a database: by `url`, or by `drivername` with the parts of a URL."""
    return isinstance(settings.get("url", settings.get("drivername")), str)
