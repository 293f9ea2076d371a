"""What `benchmarks/data.py` does to a table, step by step, and what each step holds in memory."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from algorithms.base import Port
from executors.base import ArtifactRef, Task
from executors.runtime.artifacts import ArtifactReader, store_outputs
from executors.store import get_local_path, make_file_url

_N_FRACTIONS, _N_WHOLES = 8, 4
_BYTES_A_ROW = 8 * (_N_FRACTIONS + _N_WHOLES)


def make_frame(size_mb: float, *, is_mixed: bool) -> Any:
    """Make a table of this size in memory: two thirds float64, one third int64.

    A mixed one has besides them a column of text, one of flags and one with gaps.
    """
    import numpy as np
    import pandas as pd

    n_rows = int(size_mb * 1e6 / _BYTES_A_ROW)
    generator = np.random.default_rng(7)
    columns = {f"fraction_{i}": generator.random(n_rows) for i in range(_N_FRACTIONS)}
    columns |= {f"whole_{i}": generator.integers(0, 1000, n_rows) for i in range(_N_WHOLES)}
    frame = pd.DataFrame(columns)
    if is_mixed:
        frame["text"] = pd.Series(["north", "south", "east", "west"]).take(
            generator.integers(0, 4, n_rows)
        ).to_numpy()  # fmt: skip
        frame["flag"] = frame["whole_0"] % 2 == 0
        frame["gaps"] = frame["fraction_0"].where(frame["whole_0"] % 9 > 0)
    return frame


class Bench:
    """One folder with a table in the store of the engine, and the same as a Feather file."""

    def __init__(self, folder: Path) -> None:
        self._store_url = make_file_url(folder / "store")
        self._ref_file = folder / "ref.json"
        self.feather = folder / "table.feather"
        self._n_stored = 0

    # --- writing ----------------------------------------------------------------------------------

    def store(self, frame: Any) -> ArtifactRef:
        """Store a table as the engine does: digested, synced, renamed into place."""
        self._n_stored += 1
        task = Task(
            attempt_id=f"bench.0.{self._n_stored}",
            run_id="bench",
            operator="bench",
            index=0,
            attempt=self._n_stored,
            algorithm="bench",
            entry="bench:bench",
            folder=f"{self._store_url}/runs/bench/0/{os.getpid()}-{self._n_stored}",
        )
        (ref,) = store_outputs(task, [Port("rows", "table")], frame, lambda: self._ref_file.parent)
        return ref

    def forget(self, ref: ArtifactRef) -> None:
        """Remove a stored table."""
        Path(get_local_path(ref.uri)).unlink()

    def keep(self, ref: ArtifactRef) -> None:
        """Leave a stored table's reference for other processes."""
        self._ref_file.write_bytes(msgspec.json.encode(ref))

    def write_feather(self, frame: Any, *, is_synced: bool) -> str:
        """Write a Feather file as pyarrow does, uncompressed; read it again for its digest."""
        import pyarrow.feather

        pyarrow.feather.write_feather(frame, str(self.feather), compression="uncompressed")
        with self.feather.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if is_synced:
                os.fsync(file.fileno())
        return digest

    # --- reading ----------------------------------------------------------------------------------

    def read_arrow(self) -> pa.Table:
        """Read the stored table as an algorithm that takes Arrow gets it."""
        return self._load(as_arrow=True)

    def read_frame(self) -> Any:
        """Read the stored table as an algorithm that takes a DataFrame gets it."""
        return self._load(as_arrow=False)

    def read_feather(self) -> Any:
        """Read the Feather file as pandas does."""
        import pandas as pd

        return pd.read_feather(self.feather)

    def count_outside(self, addresses: list[tuple[int, int]]) -> int:
        """Add up the bytes of arrays (address, size) that do not lie in the mapped file."""
        path = get_local_path(self._load_ref().uri)
        maps = []
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith(path):
                begin, _, end = line.split(maxsplit=1)[0].partition("-")
                maps.append((int(begin, 16), int(end, 16)))
        return sum(
            size
            for address, size in addresses
            if not any(begin <= address and address + size <= end for begin, end in maps)
        )

    def _load(self, *, as_arrow: bool) -> Any:
        reader = ArtifactReader(self._store_url, lambda: self._ref_file.parent)
        return reader.load(self._load_ref(), as_arrow=as_arrow)

    def _load_ref(self) -> ArtifactRef:
        return msgspec.json.decode(self._ref_file.read_bytes(), type=ArtifactRef)


def list_arrow_buffers(table: pa.Table) -> list[tuple[int, int]]:
    """Return address and size of what holds the numbers of an Arrow table."""
    return [
        (chunk.buffers()[1].address, chunk.buffers()[1].size)
        for column in table.columns
        if pa.types.is_primitive(column.type)
        for chunk in column.chunks
    ]


def list_frame_arrays(frame: Any) -> list[tuple[int, int]]:
    """Return address and size of what holds the numbers of a DataFrame."""
    numbers = frame.select_dtypes("number")
    arrays = [numbers[name].to_numpy() for name in numbers]
    return [(array.ctypes.data, array.nbytes) for array in arrays]


def touch(table: Any) -> float:
    """Look at every number of a table, as whoever reads it will."""
    if isinstance(table, pa.Table):
        import pyarrow.compute as pc

        return float(
            sum(pc.sum(column).as_py() for column in table.columns if _is_number(column.type))
        )
    numbers = table.select_dtypes("number")
    # pandas' own sums put masks and copies beside a column; what is measured here is the table
    return float(sum(numbers[name].to_numpy().sum() for name in numbers))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def import_all() -> None:
    """Import and use once what reading a table needs, so that it counts as nobody's memory."""
    import pandas as pd

    from executors.runtime import frames, tables

    table = tables.convert_to_arrow("rows", pd.DataFrame({"x": [1.5], "t": ["x"]}))
    touch(table)
    touch(table.to_pandas())
    del frames


def measure_memory(step: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Carry a step out; return by how many MB it raised this process's memory.

    `peak_mb` is the most that was resident, mapped pages included; `private_mb` the anonymous pages
    that stay, which are copies; `mapped_mb` the pages of files that stay.
    """
    before = _read_memory()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    result = step()
    after = _read_memory()
    return result, {
        "peak_mb": round((after["VmHWM"] - before["VmRSS"]) / 1e6, 1),
        "private_mb": round((after["RssAnon"] - before["RssAnon"]) / 1e6, 1),
        "mapped_mb": round((after["RssFile"] - before["RssFile"]) / 1e6, 1),
    }


def measure_seconds(steps: dict[str, Callable[[], Any]], n_rounds: int) -> dict[str, list[float]]:
    """Carry all steps out in turn, so many times.

    What a step returns is dropped untimed, and called before if it is a function.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(n_rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            result = step()
            seconds[name].append(time.perf_counter() - began)
            if callable(result):
                result()
            del result
    return seconds


def _read_memory() -> dict[str, int]:
    fields = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            fields[name] = 1024 * int(value.split()[0])
    return fields
