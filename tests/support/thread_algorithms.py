"""An algorithm that asks, from inside its task, how many threads everything would use."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from pydantic import BaseModel

from algorithms.base import Context, Port, algorithm

LIBRARIES = ["numpy", "scipy.linalg", "sklearn.ensemble", "pyarrow", "joblib", "threadpoolctl"]
"""Preloaded in one test, loaded by the task itself in another."""

_ASK_PROCESS = (
    "import numpy, threadpoolctl, json;"
    "print(json.dumps([pool['num_threads'] for pool in threadpoolctl.threadpool_info()]))"
)


class NoParams(BaseModel):
    """Parameters: none."""


@algorithm("ask_threads", title="Ask for threads", outputs=[Port("threads", "report")])
def ask_threads(context: Context, params: NoParams) -> dict[str, Any]:
    """Return the number of threads by library."""
    import joblib
    import numpy as np
    import pyarrow as pa
    import scipy.linalg
    import sklearn.ensemble
    import threadpoolctl
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    del sklearn
    scipy.linalg.lu(np.eye(3))  # so that its own library is loaded
    in_thread: list[int] = []
    thread = threading.Thread(target=lambda: in_thread.append(_openmp_effective_n_threads()))
    thread.start()
    thread.join()
    asked = subprocess.run([sys.executable, "-c", _ASK_PROCESS], check=True, stdout=subprocess.PIPE)
    return {
        "pools": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
        "sklearn": _openmp_effective_n_threads(),
        "sklearn_in_a_thread": in_thread[0],
        "pyarrow": pa.cpu_count(),
        "joblib": joblib.effective_n_jobs(-1),
        "child_process": json.loads(asked.stdout),
    }
