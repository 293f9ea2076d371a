import datetime as dt
import gzip
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.attempts import Workshop, refer_to_file

READ = "algorithms.source.algo_local_read_file"
PREVIEW = "algorithms.source.algo_internal_preview_dataset"
CSV = "姓名,age,score\n张三,31,0.1\n李四,,2.5\n"
EXPECTED = {"姓名": ["张三", "李四"], "age": [31.0, None], "score": [0.1, 2.5]}


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path / "home")


def read(workshop, path, **fields):
    outcome = workshop.run(
        READ, {"data_id": "data"}, datasets=refer_to_file(path, **fields), n_outputs=1
    )
    if outcome.state != "succeeded":
        return outcome
    frame = workshop.load(outcome.outputs[0])
    return frame.astype(object).where(frame.notna(), None).to_dict("list")


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16"])
def test_csv_is_read_in_the_encodings_of_china_and_the_world(workshop, tmp_path, encoding):
    path = write(tmp_path, "data.csv", CSV.encode(encoding))
    assert read(workshop, path) == EXPECTED


def test_a_declared_encoding_is_used(workshop, tmp_path):
    path = write(tmp_path, "data.csv", "größe\n5\n".encode("latin-1"))
    assert read(workshop, path, options={"encoding": "latin-1"}) == {"größe": [5]}
    outcome = read(workshop, path, options={"encoding": "klingon"})
    assert "klingon" in outcome.message


@pytest.mark.parametrize(
    ("name", "format"), [("data.tsv", ""), ("data", "tsv"), ("data.csv", "tsv")]
)
def test_tsv_is_told_by_format_or_name(workshop, tmp_path, name, format):
    path = write(tmp_path, name, CSV.replace(",", "\t").encode())
    assert read(workshop, path, format=format) == EXPECTED


def test_another_separator_can_be_given(workshop, tmp_path):
    path = write(tmp_path, "data.csv", CSV.replace(",", ";").encode())
    assert read(workshop, path, options={"separator": ";"}) == EXPECTED


def test_gzip_is_unpacked(workshop, tmp_path):
    path = write(tmp_path, "data.csv.gz", gzip.compress(CSV.encode()))
    assert read(workshop, path) == EXPECTED
    path = write(tmp_path, "cut.csv.gz", gzip.compress(CSV.encode())[:-10])
    assert "damaged gzip" in read(workshop, path).message


def test_parquet_is_read(workshop, tmp_path):
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(EXPECTED), path)
    assert read(workshop, path) == EXPECTED
    path = write(tmp_path, "broken.parquet", b"PAR1....PAR1")
    assert "cannot be read as Parquet" in read(workshop, path).message


def test_json_lines_are_read_and_dates_stay_text(workshop, tmp_path):
    lines = [{"姓名": "张三", "created_at": "2020-01-01"}, {"姓名": "李四"}]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    path = write(tmp_path, "data.jsonl", text.encode())
    expected = {"姓名": ["张三", "李四"], "created_at": ["2020-01-01", None]}
    assert read(workshop, path) == expected
    path = write(tmp_path, "broken.jsonl", b'{"a": 1}\n{"a"\n')
    assert "broken.jsonl, line 2 is no JSON" in read(workshop, path).message
    path = write(tmp_path, "list.jsonl", b"[1]\n")
    assert "line 1 holds list" in read(workshop, path).message


def test_excel_is_read_by_sheet(workshop, tmp_path):
    path = tmp_path / "data.xlsx"
    with pd.ExcelWriter(path) as writer:
        pd.DataFrame({"x": [1]}).to_excel(writer, sheet_name="one", index=False)
        pd.DataFrame(EXPECTED).to_excel(writer, sheet_name="二", index=False)
    assert read(workshop, path) == {"x": [1]}
    assert read(workshop, path, options={"sheet": "二"}) == EXPECTED
    assert "Excel workbook" in read(workshop, path, options={"sheet": "3"}).message
    path = write(tmp_path, "broken.xlsx", b"PK")
    assert "Excel workbook" in read(workshop, path).message


def test_columns_of_mixed_values_become_text(workshop, tmp_path):
    path = tmp_path / "data.xlsx"
    pd.DataFrame({"x": [1, None, "a"]}).to_excel(path, index=False)
    assert read(workshop, path) == {"x": ["1", None, "a"]}


def test_numbers_are_read_exactly(workshop, tmp_path):
    path = write(tmp_path, "data.csv", b"x\n0.1234567890123456789\n9007199254740993\n")
    assert read(workshop, path) == {"x": [0.12345678901234568, 9007199254740992.0]}
    path = write(tmp_path, "whole.csv", b"x\n9007199254740993\n")
    assert read(workshop, path) == {"x": [9007199254740993]}


def test_cells_that_look_like_formulas_stay_text(workshop, tmp_path):
    path = write(tmp_path, "data.csv", b'x\n"=cmd|calc"\n')
    assert read(workshop, path) == {"x": ["=cmd|calc"]}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("data.csv", b"", "cannot be read as delimited text"),
        ("data.csv", b"a,b\n1,2\n1,2,3\n", "line 3"),
        ("data.dat", b"x", "is not known"),
        ("data.csv", b"\xff\xff\xff", "is not text in utf-8 or gb18030"),
    ],
)
def test_what_cannot_be_read_is_invalid_input_with_a_cure(workshop, tmp_path, name, data, said):
    outcome = read(workshop, write(tmp_path, name, data))
    assert (outcome.state, outcome.reason) == ("failed", "invalid_input")
    assert said in outcome.message
    assert outcome.hint
    assert outcome.traceback == ""


def test_a_number_names_the_dataset_of_its_decimal_text(workshop, tmp_path):
    path = write(tmp_path, "data.csv", CSV.encode())
    outcome = workshop.run(READ, {"data_id": 40}, datasets=refer_to_file(path, "40"))
    assert outcome.state == "succeeded"


def test_preview_tells_schema_rows_and_head(workshop, tmp_path):
    path = write(tmp_path, "data.csv", CSV.encode())
    (ref,) = workshop.succeed(
        PREVIEW, {"data_id": "data", "limit": 1}, datasets=refer_to_file(path)
    )
    assert ref.inline == {
        "columns": [
            {"name": "姓名", "type": "large_string"},
            {"name": "age", "type": "double"},
            {"name": "score", "type": "double"},
        ],
        "rows": 2,
        "items": [["张三", 31.0, 0.1]],
    }


def test_preview_shows_nan_and_moments_as_json_can(workshop, tmp_path):
    path = tmp_path / "data.parquet"
    moment = dt.datetime(2020, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as Parquet files hold them
    pq.write_table(pa.table({"x": [float("nan")], "at": [moment], "list": [[1, 2]]}), path)
    (ref,) = workshop.succeed(PREVIEW, {"data_id": "data"}, datasets=refer_to_file(path))
    assert ref.inline["items"] == [[None, "2020-01-02T03:04:05", "[1, 2]"]]


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx", ".jsonl", ".tsv"])
def test_every_format_may_be_packed_by_gzip(workshop, tmp_path, suffix):
    plain = tmp_path / f"plain{suffix}"
    frame = pd.DataFrame({"城市": ["北京", "上海"], "n": [1, 2]})
    {
        ".parquet": lambda: frame.to_parquet(plain),
        ".xlsx": lambda: frame.to_excel(plain, index=False),
        ".jsonl": lambda: frame.to_json(plain, orient="records", lines=True, force_ascii=False),
        ".tsv": lambda: frame.to_csv(plain, sep="\t", index=False),
    }[suffix]()
    path = write(tmp_path, f"data{suffix}.gz", gzip.compress(plain.read_bytes()))
    assert read(workshop, path) == {"城市": ["北京", "上海"], "n": [1, 2]}


@pytest.mark.parametrize("separator", ["(a+)+$", "::", "", "\n", '"'])
def test_a_separator_that_is_no_single_character_is_refused(workshop, tmp_path, separator):
    path = write(tmp_path, "data.csv", ("a" * 60 + "b\n1\n").encode())
    outcome = read(workshop, path, options={"separator": separator})
    assert outcome.reason == "invalid_input"
    assert "must be one character" in outcome.message
