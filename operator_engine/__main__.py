"""Runs a whole operator engine: `python -m operator_engine SETTINGS.json`."""

from __future__ import annotations

import sys

from operator_engine.deploy import make_engine_launcher, resolve_store
from operator_engine.errors import EngineError
from operator_engine.process import begin


def main() -> None:
    """Run an operator engine with its executors' processes until it is asked to end."""
    settings = begin(sys.argv)
    try:
        make_engine_launcher(resolve_store(settings)).run()
    except EngineError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
