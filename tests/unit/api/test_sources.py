import hashlib
import os
import re
from pathlib import Path

import pytest

from dag_engine.api.errors import UnprocessableError
from dag_engine.api.sources import check_dataset_id, find_source, safe_filename, set_reach
from executors.base import DatasetRef


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "数据"
    folder.mkdir()
    (folder / "表.csv").write_bytes(b"a\n1\n")
    (tmp_path / "secret.csv").write_bytes(b"s\n")
    return folder


def test_file_below_a_root_is_taken_with_size_and_digest(root: Path) -> None:
    source = find_source(f"file://{root}/表.csv", (str(root),))

    assert source.uri == f"file://{root}/表.csv"
    assert (source.filename, source.size_bytes) == ("表.csv", 4)
    assert source.sha256 == hashlib.sha256(b"a\n1\n").hexdigest()


@pytest.mark.parametrize(
    "rest",
    ["../secret.csv", "./../secret.csv", "", ".", "missing.csv", "\x00", "sub/../../secret.csv"],
)
def test_what_lies_outside_or_is_no_file_is_refused(root: Path, rest: str) -> None:
    with pytest.raises(UnprocessableError):
        find_source(f"{root}/{rest}", (str(root),))


def test_relative_path_and_other_folder_with_the_same_beginning_are_refused(root: Path) -> None:
    twin = root.with_name("数据2")
    twin.mkdir()
    (twin / "a.csv").write_bytes(b"")

    for uri in ("表.csv", str(twin / "a.csv"), "file:表.csv", "C:\\a.csv", "gopher://h/a"):
        with pytest.raises(UnprocessableError):
            find_source(uri, (str(root),))


def test_link_that_leads_out_of_the_root_is_refused(root: Path) -> None:
    (root / "out.csv").symlink_to(root.parent / "secret.csv")
    (root / "folder").symlink_to(root.parent)

    for name in ("out.csv", "folder/secret.csv"):
        with pytest.raises(UnprocessableError, match="none of the roots"):
            find_source(str(root / name), (str(root),))


def test_device_or_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root / "pipe.csv")

    with pytest.raises(UnprocessableError, match="not a file"):
        find_source(str(root / "pipe.csv"), (str(root),))


def test_url_below_a_url_root_is_taken_unread() -> None:
    roots = ("https://data.example/open/",)

    source = find_source("https://data.example/open/a%20b.csv", roots)

    assert (source.uri, source.sha256) == ("https://data.example/open/a%20b.csv", "")


@pytest.mark.parametrize(
    "uri",
    [
        "https://data.example/closed/a.csv",
        "https://data.example/open",
        "https://data.example/open/../closed/a.csv",
        "https://data.example/open/%2e%2e/closed/a.csv",
        "https://data.example/open/%252e%252e/closed/a.csv",
        "https://data.example/open/..\\closed/a.csv",
        "https://data.example.evil/open/a.csv",
        "https://data.example@evil/open/a.csv",
        "https://data.example/open/a.csv#x",
        "http://data.example/open/a.csv",
        "file:///open/a.csv",
        "https://169.254.169.254/open/a.csv",
        "https://[data.example/open/a.csv",
    ],
)
def test_url_that_leads_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(UnprocessableError):
        find_source(uri, ("https://data.example/open/", "/srv/data"))


@pytest.mark.parametrize(
    ("roots", "is_found"),
    [
        (("",), False), (("home",), False), (("home/artifacts",), False),
        (("home/artifacts/datasets",), False), (("home/artifacts/datasets/team-a",), True),
    ],
)  # fmt: skip
def test_root_that_holds_the_services_own_folders_does_not_open_them(
    tmp_path: Path, roots: tuple[str, ...], is_found: bool
) -> None:
    """Uploads of every namespace lie there, and the secret; a root right inside is meant so."""
    file = tmp_path / "home" / "artifacts" / "datasets" / "team-a" / "x.csv"
    file.parent.mkdir(parents=True)
    file.write_text("n\n1\n")
    private = (str(tmp_path / "home"), f"file://{tmp_path}/home/artifacts/datasets")
    allowed = tuple(str(tmp_path / root) for root in roots)

    if is_found:
        assert find_source(str(file), allowed, private).size_bytes == 4
        return
    with pytest.raises(UnprocessableError, match="below none of the roots"):
        find_source(str(file), allowed, private)


@pytest.mark.parametrize(
    ("root", "is_found"),
    [("s3://bucket", False), ("s3://bucket/store/", False), ("s3://bucket/store/open/", True)],
)
def test_url_within_the_store_is_refused_unless_a_root_lies_there(
    root: str, is_found: bool
) -> None:
    uri, private = "s3://bucket/store/open/a.csv", ("/home", "s3://bucket/store")

    if is_found:
        assert find_source(uri, (root,), private).uri == uri
        return
    with pytest.raises(UnprocessableError):
        find_source(uri, (root,), private)


@pytest.mark.parametrize(
    ("store", "root", "uri"),
    [
        ("s3://bucket/store", "s3a://bucket/", "s3a://bucket/store/a.csv"),
        ("s3://bucket/store", "s3://bucket/", "s3://bucket//store/a.csv"),
        ("s3://bucket/store", "s3://bucket/", "s3://bucket/st%6fre/a.csv"),
        ("gcs://bucket/store/", "gs://bucket", "gs://bucket/store/a.csv"),
        ("abfss://box@account.example/store", "az://box", "az://box/store/a.csv"),
        ("hdfs://name:8020/store", "hdfs://name/", "hdfs://name/store/a.csv"),
        ("hdfs://name:8020/store", "webhdfs://NAME:9870/", "webhdfs://NAME:9870/store/a.csv"),
        ("https://host/store", "https://host:443/", "https://host:443/store/a.csv"),
    ],
)
def test_the_store_is_recognised_however_it_is_written(store: str, root: str, uri: str) -> None:
    with pytest.raises(UnprocessableError):
        find_source(uri, (root,), ("/home", store))
    beside = re.sub("/+st(o|%6f)re", "/other", uri)
    assert find_source(beside, (root,), ("/home", store)).uri == beside


def test_empty_steps_in_a_path_are_refused() -> None:
    with pytest.raises(UnprocessableError, match="may lead elsewhere"):
        find_source("https://data.example/open//a.csv", ("https://data.example/open/",))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("data.csv", "data.csv"),
        ("违约 数据(1).xlsx", "违约_数据(1).xlsx"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\a.csv", "a.csv"),
        (".hidden.csv", "hidden.csv"),
        ("...", "data"),
        ("", "data"),
        ("a\x00b\r\n.csv", "a_b_.csv"),
    ],
)
def test_file_names_are_made_plain(name: str, safe: str) -> None:
    assert safe_filename(name) == safe


def test_long_file_name_keeps_its_ending() -> None:
    name = safe_filename("长" * 300 + ".csv.gz")

    assert name.endswith(".gz")
    assert len(name.encode()) <= 120


@pytest.mark.parametrize("dataset_id", ["40", "客户_1", "a.b-c"])
def test_ordinary_dataset_ids_are_taken(dataset_id: str) -> None:
    assert check_dataset_id(dataset_id) == dataset_id


@pytest.mark.parametrize("dataset_id", ["", "..", "a/b", "a\\b", ".a", "a b", "x" * 129, "a\n"])
def test_odd_dataset_ids_are_refused(dataset_id: str) -> None:
    with pytest.raises(UnprocessableError):
        check_dataset_id(dataset_id)


@pytest.mark.parametrize(
    ("uri", "is_private"),
    [
        ("http://10.0.0.5/data/a.csv", True),
        ("http://localhost:9000/a.csv", True),
        ("https://minio.internal:9000/a.csv", True),
        ("https://data.example/a.csv", False),
        ("http://2130706433/a.csv", False),
        ("http://127.0.0.1/a.csv", False),
        ("http://8.8.8.8/a.csv", False),
        ("s3://bucket/a.csv", False),
        ("http://[broken/a.csv", False),
    ],
)
def test_only_what_the_configuration_names_may_lie_inside(uri: str, is_private: bool) -> None:
    roots = (
        "http://10.0.0.5/data/",
        "http://localhost:9000/",
        "https://data.example/",
        "http://2130706433/",
        "http://8.8.8.8/",
    )
    ref = DatasetRef(id="1", version=1, uri=uri, is_private=True)

    assert set_reach(ref, roots, ("MinIO.internal.",)).is_private is (
        is_private or not uri.startswith("http")
    )
