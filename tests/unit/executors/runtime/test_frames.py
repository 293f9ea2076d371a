"""Tables pass from operator to operator without a copy of their numbers."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from executors.base import ArtifactRef
from executors.runtime import frames, tables
from executors.runtime.artifacts import ArtifactReader
from executors.runtime.errors import InvalidInputError
from executors.store import get_local_path
from tests.support.attempts import Workshop

N_ROWS = 80_000
NUMBERS = {
    "a": np.arange(N_ROWS, dtype="float64"),
    "b": np.arange(N_ROWS, dtype="float64") / 3,
    "n": np.arange(N_ROWS, dtype="int64"),
    "small": (np.arange(N_ROWS) % 100).astype("int8"),
    "single": np.arange(N_ROWS, dtype="float32"),
}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def make_mixed_frame() -> pd.DataFrame:
    """Return a table with columns of all the kinds that must be converted, between numbers."""
    return pd.DataFrame(
        {
            "a": NUMBERS["a"],
            "text": pd.Series(["x", None, "甲"] * N_ROWS)[:N_ROWS].to_numpy(),
            "gaps": pd.Series(NUMBERS["b"]).where(NUMBERS["n"] % 7 > 0),
            "b": NUMBERS["b"],
            "flag": NUMBERS["n"] % 2 == 0,
            "whole": pd.array(NUMBERS["n"], dtype="Int64"),
            "at": pd.Timestamp("2020-01-01") + pd.to_timedelta(NUMBERS["n"], unit="s"),
            "kind": pd.Categorical(["x", "y"] * (N_ROWS // 2)),
            "n": NUMBERS["n"],
        }
    )


def find_maps(path: Path) -> list[tuple[int, int]]:
    """Return the ranges of addresses under which a file is mapped into this process."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            begin, _, end = line.split(maxsplit=1)[0].partition("-")
            found.append((int(begin, 16), int(end, 16)))
    return found


def lies_in(path: Path, address: int, size_bytes: int) -> bool:
    return any(begin <= address and address + size_bytes <= end for begin, end in find_maps(path))


def read_arrow(workshop: Workshop, ref: ArtifactRef) -> pa.Table:
    return ArtifactReader(workshop.store_url, lambda: workshop.home).load(ref, as_arrow=True)


def test_numbers_of_an_arrow_table_lie_in_the_mapped_file(workshop: Workshop) -> None:
    ref = workshop.store(pd.DataFrame(NUMBERS))
    path = Path(get_local_path(ref.uri))
    table = read_arrow(workshop, ref)
    for name in NUMBERS:
        values = table.column(name).chunk(0).buffers()[1]
        assert lies_in(path, values.address, values.size), name


def test_numbers_of_a_data_frame_lie_in_the_mapped_file(workshop: Workshop) -> None:
    ref = workshop.store(make_mixed_frame())
    path = Path(get_local_path(ref.uri))
    frame = workshop.load(ref)
    for name in ("a", "b", "n"):
        values = frame[name].to_numpy()
        assert lies_in(path, values.ctypes.data, values.nbytes), name


def test_neighbours_of_one_type_are_one_array_without_a_copy(workshop: Workshop) -> None:
    ref = workshop.store(pd.DataFrame({f"x{i}": NUMBERS["a"] + i for i in range(20)}))
    matrix = workshop.load(ref).to_numpy()
    assert lies_in(Path(get_local_path(ref.uri)), matrix.ctypes.data, matrix.nbytes)
    assert matrix[:, 3].tolist() == (NUMBERS["a"] + 3).tolist()


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame(NUMBERS),
        make_mixed_frame(),
        pd.DataFrame({0: NUMBERS["a"], 1: NUMBERS["n"], 2: NUMBERS["b"]}),
        pd.DataFrame({f"x{i}": NUMBERS["a" if i % 2 else "n"] for i in range(80)}),
        pa.table({"x": pa.chunked_array([NUMBERS["a"], NUMBERS["b"]])}),
        pa.table(NUMBERS).slice(5),
        pa.table({**NUMBERS, "text": ["x"] * N_ROWS}).slice(5, 70_000),
        pa.Table.from_pandas(pd.DataFrame(NUMBERS).set_index("n")),
    ],
    ids=["numbers", "mixed", "labels", "many", "chunks", "slice", "slice of texts", "index"],
)
def test_a_frame_is_what_arrow_would_make_of_the_table(workshop: Workshop, value: Any) -> None:
    ref = workshop.store(value)
    assert ref.size_bytes >= frames.SMALLEST_BYTES
    expected = read_arrow(workshop, ref).to_pandas()
    pd.testing.assert_frame_equal(workshop.load(ref), expected)


def test_attributes_of_a_frame_are_kept(workshop: Workshop) -> None:
    frame = pd.DataFrame(NUMBERS)
    frame.attrs["unit"] = "m"
    assert workshop.load(workshop.store(frame)).attrs == {"unit": "m"}


def test_a_frame_can_be_changed_and_the_artifact_stays(workshop: Workshop) -> None:
    ref = workshop.store(make_mixed_frame())
    path = Path(get_local_path(ref.uri))
    before = path.read_bytes()
    frame = workshop.load(ref)
    frame.loc[0, "a"] = -1.0
    frame.iloc[1, frame.columns.get_loc("n")] = -2
    frame.fillna({"gaps": 0.0}, inplace=True)
    frame["b"] *= 2
    values = frame["a"].to_numpy()
    assert frame.loc[0, "a"] == -1.0
    assert frame.loc[1, "n"] == -2
    assert lies_in(path, values.ctypes.data, values.nbytes), "changed where it lay"
    assert path.read_bytes() == before
    assert workshop.load(ref).loc[0, "a"] == 0.0


def test_a_frame_outlives_its_artifact(workshop: Workshop) -> None:
    ref = workshop.store(pd.DataFrame(NUMBERS))
    frame = workshop.load(ref)
    Path(get_local_path(ref.uri)).unlink()
    pd.testing.assert_frame_equal(frame, pd.DataFrame(NUMBERS))


def test_a_frame_is_copied_where_no_private_map_can_be_made(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = workshop.store(pd.DataFrame(NUMBERS))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("out of memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    pd.testing.assert_frame_equal(workshop.load(ref), pd.DataFrame(NUMBERS))


def test_a_damaged_file_is_told_as_such(workshop: Workshop) -> None:
    ref = workshop.store(pd.DataFrame(NUMBERS))
    path = Path(get_local_path(ref.uri))
    path.write_bytes(b"x" * ref.size_bytes)
    with pytest.raises(InvalidInputError, match="is damaged"):
        tables.read_frame(path, ref)
