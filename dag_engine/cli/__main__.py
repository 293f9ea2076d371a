"""`python -m dag_engine.cli` is `dagengine`."""

from __future__ import annotations

from dag_engine.cli.main import main

if __name__ == "__main__":
    main()
