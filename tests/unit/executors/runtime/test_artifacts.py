import hashlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas as pd
import pyarrow as pa
import pytest

from executors.base import INLINE_LIMIT_BYTES
from executors.runtime.errors import InvalidInputError
from executors.store import get_local_path
from tests.support.attempts import Workshop
from tests.support.sample_algorithms import MODULE
from tests.support.waiting import wait_until


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


def get_path(ref):
    return Path(get_local_path(ref.uri))


def test_a_stored_file_has_the_digest_and_size_of_its_reference(workshop):
    rows, _ = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    data = get_path(rows).read_bytes()
    assert rows.sha256 == hashlib.sha256(data).hexdigest()
    assert rows.size_bytes == len(data)
    assert rows.rows == 2
    assert [column.name for column in rows.columns] == ["城市", "n"]
    assert get_path(rows).parent == workshop.home / "artifacts/runs/rtest/0/1"


def test_equal_tables_have_equal_digests(workshop):
    one, _ = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    other, _ = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    assert one.uri != other.uri
    assert one.sha256 == other.sha256


def test_a_table_is_mapped_not_copied(workshop):
    ref = workshop.store(pa.table({"x": list(range(100_000))}))
    from executors.runtime.artifacts import ArtifactReader

    before = pa.total_allocated_bytes()
    table = ArtifactReader(workshop.store_url, lambda: workshop.home).load(ref, as_arrow=True)
    assert table.num_rows == 100_000
    assert pa.total_allocated_bytes() - before < 10_000


def test_types_survive_the_store(workshop):
    frame = pd.DataFrame(
        {
            "text": ["a", None],
            "whole": pd.array([1, None], dtype="Int64"),
            "at": pd.to_datetime(["2020-01-01", None]),
            "kind": pd.Categorical(["x", "y"]),
            "flag": [True, False],
        }
    )
    again = workshop.load(workshop.store(frame))
    pd.testing.assert_frame_equal(again, frame)


def test_the_index_is_not_kept(workshop):
    frame = pd.DataFrame({"x": [1, 2, 3]}).iloc[1:]
    assert workshop.load(workshop.store(frame)).index.tolist() == [0, 1]


def test_columns_of_one_name_are_refused(workshop):
    from executors.runtime.errors import InvalidOutputError

    with pytest.raises(InvalidOutputError, match=r"one name|Duplicate column names"):
        workshop.store(pd.DataFrame([[1, 2]], columns=["x", "x"]))
    with pytest.raises(InvalidOutputError, match="columns of one name: x"):
        workshop.store(pa.Table.from_arrays([[1], [2]], names=["x", "x"]))


def test_a_small_report_stays_inline_and_a_large_one_goes_to_a_file(workshop):
    small = workshop.store({"text": "x" * (INLINE_LIMIT_BYTES - len('{"text":""}'))})
    assert (small.uri, small.size_bytes) == ("", INLINE_LIMIT_BYTES)
    large = workshop.store({"text": "x" * INLINE_LIMIT_BYTES})
    assert large.inline is None
    assert json.loads(get_path(large).read_text()) == workshop.load(large)


def test_a_report_takes_numbers_of_numpy_and_makes_nan_null(workshop):
    import numpy as np

    report = {
        "n": np.int64(3),
        "x": np.float64("nan"),
        "inf": float("inf"),
        "list": np.array([1.5, float("nan")]),
        "at": pd.Timestamp("2020-01-01"),
        1: "键",
    }
    assert workshop.store(report).inline == {
        "n": 3,
        "x": None,
        "inf": None,
        "list": [1.5, None],
        "at": "2020-01-01T00:00:00",
        "1": "键",
    }


def test_files_are_copied_with_their_name(workshop):
    (ref,) = workshop.succeed(f"{MODULE}:return_file", {"kind": "plain"})
    assert ref.meta == {"name": "报告.html"}
    assert ref.uri.endswith("/0.html")
    (seen,) = workshop.succeed(f"{MODULE}:read_file", inputs=[[ref]])
    assert seen.inline == {"text": "<p>好</p>"}


@pytest.mark.parametrize("kind", ["link", "none", "dir"])
def test_only_plain_files_are_stored(workshop, kind):
    outcome = workshop.run(f"{MODULE}:return_file", {"kind": kind})
    assert outcome.reason == "invalid_output"
    assert not (workshop.home / "artifacts").exists() or not [
        path for path in (workshop.home / "artifacts").rglob("*") if path.is_file()
    ]


def test_a_link_in_place_of_an_artifact_is_not_followed(workshop, tmp_path):
    ref = workshop.store(pd.DataFrame({"x": [1]}))
    secret = tmp_path / "secret.arrow"
    get_path(ref).rename(secret)
    get_path(ref).symlink_to(secret)
    with pytest.raises(InvalidInputError, match="not a plain file"):
        workshop.load(ref)


def test_a_link_in_place_of_an_attempts_folder_is_not_followed(workshop, tmp_path):
    ref = workshop.store(pd.DataFrame({"x": [1]}))
    folder = get_path(ref).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="a link stands in its path"):
        workshop.load(ref)


def test_a_store_that_is_itself_reached_by_a_link_serves(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    workshop = Workshop(tmp_path, f"file://{tmp_path}/link")
    assert len(workshop.load(workshop.store(pd.DataFrame({"x": [1]})))) == 1


def test_damage_is_found_before_it_is_read(workshop):
    ref = workshop.store(pd.DataFrame({"x": list(range(1000))}))
    data = get_path(ref).read_bytes()
    get_path(ref).write_bytes(data[:-1])
    with pytest.raises(InvalidInputError, match=f"{len(data) - 1} bytes; {len(data)} were stored"):
        workshop.load(ref)
    get_path(ref).write_bytes(data[:-10] + b"\0" * 10)
    with pytest.raises(InvalidInputError, match="is damaged"):
        workshop.load(ref)
    get_path(ref).unlink()
    with pytest.raises(InvalidInputError, match="is gone"):
        workshop.load(ref)


def test_another_table_in_the_place_is_found_by_its_rows(workshop):
    ref = workshop.store(pd.DataFrame({"x": [1, 2]}))
    with pytest.raises(InvalidInputError, match="2 rows; 3 were stored"):
        workshop.load(msgspec.structs.replace(ref, rows=3))


def test_doing_an_attempt_again_replaces_what_it_left(workshop):
    task = workshop.make_task(f"{MODULE}:two_outputs", {"kind": "both"})
    first = workshop.run_task(task).outputs[0]
    (get_path(first).parent / "foreign").write_text("x")
    second = workshop.run_task(task).outputs[0]
    assert first == second
    assert [path.name for path in get_path(second).parent.iterdir()] == ["0.arrow"]
    assert [path.name for path in get_path(second).parent.parent.iterdir()] == ["1"]


def test_a_remote_store_holds_parquet_and_digests_are_checked(tmp_path):
    import fsspec

    workshop = Workshop(tmp_path, "memory://store")
    rows, report = workshop.succeed(f"{MODULE}:two_outputs", {"kind": "both"})
    assert rows.uri == "memory://store/runs/rtest/0/1/0.parquet"
    assert report.inline == {"n": 2}
    (seen,) = workshop.succeed(f"{MODULE}:count", inputs=[[rows]])
    assert seen.inline == {"type": "DataFrame", "rows": 2, "columns": ["城市", "n"]}
    filesystem = fsspec.filesystem("memory")
    data = filesystem.cat(rows.uri)
    filesystem.pipe(rows.uri, data[:-1] + b"x")
    outcome = workshop.run(f"{MODULE}:count", inputs=[[rows]])
    assert "its digest is" in outcome.message
    assert list((workshop.home / "work").iterdir()) == []
    filesystem.rm("memory://store", recursive=True)


WRITER = """
import sys
from pathlib import Path
import pyarrow as pa
from tests.support.attempts import Workshop
workshop = Workshop(Path(sys.argv[1]))
table = pa.table({"x": list(range(2_000_000))})
while True:
    workshop.store(table)
"""


@pytest.mark.parametrize("n_stored_before", [0, 1, 2])
def test_a_kill_in_the_middle_of_writing_leaves_only_whole_artifacts(tmp_path, n_stored_before):
    runs = tmp_path / "artifacts/runs/rtest"
    root = Path(__file__).parents[4]
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=root) as writer:
        try:
            wait_until(
                lambda: (
                    len(list(runs.glob("*/1/0.arrow"))) >= n_stored_before
                    and any(runs.glob("*/1.tmp-*/0.arrow"))
                ),
                30,
                "the writer never began to write",
            )
        finally:
            writer.kill()
    whole = list(runs.glob("*/1/0.arrow"))
    assert len(whole) >= n_stored_before
    for path in whole:
        assert pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows == 2_000_000
