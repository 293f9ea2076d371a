"""How the supervisor of a local pool is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from executors.base import ExecutorSettings
from executors.local.options import PoolPaths, PoolSettings, read_options
from executors.private_files import write_private_bytes


def supervisor_command(
    name: str, options: dict[str, Any], settings: ExecutorSettings, *, runner: str = ""
) -> list[str]:
    """Write the settings file of a pool and return the command that runs its supervisor.

    Parameters
    ----------
    name : str
        Name of the executor.
    options : dict
        Its options, as configured; see `executors.local.options.LocalOptions`.
    settings : ExecutorSettings
        Those of the operator engine; the same as its `LocalExecutor` objects get.
    runner : str
        `module:function` that runs one attempt in a worker; empty = the runtime's.

    Raises
    ------
    LocalOptionsError
        Where an option is unknown or out of range.
    """
    pool = PoolSettings(name=name, options=read_options(name, options), executor=settings)
    if runner:
        pool = msgspec.structs.replace(pool, runner=runner)
    paths = PoolPaths(settings.home, name)
    os.makedirs(paths.run, mode=0o700, exist_ok=True)
    write_private_bytes(Path(paths.settings), msgspec.json.encode(pool))
    return [sys.executable, "-m", "executors.local.supervisor", paths.settings]
