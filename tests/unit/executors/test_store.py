import os
import threading

import pytest

from executors import store


def test_folders_of_the_store_are_named_by_run_index_and_attempt():
    base = "file:///data/存储"
    assert store.make_attempt_folder(base, "r1", 3, 2) == "file:///data/存储/runs/r1/3/2"
    assert store.make_log_url(base, "r1", 3, 2) == "file:///data/存储/logs/r1/3.2.log"
    folder = store.make_dataset_folder(base + "/", "team-b", "40", 1)
    assert folder == "file:///data/存储/datasets/team-b/40/v1"


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "a b", "C:\\x", "x\0y", "#", "%2e%2e"])
def test_a_safe_name_is_one_folder_below(name):
    safe = store.make_safe_name(name)
    assert safe not in ("", ".", "..")
    assert not set(safe) & set("/\\\0#: ")
    assert safe != store.make_safe_name(name + "x")


def test_paths_and_file_urls_are_local():
    assert store.get_local_path("file:///a/b c") == "/a/b c"
    assert store.get_local_path("/a/b") == "/a/b"
    assert not store.is_local("s3://bucket/x")
    with pytest.raises(ValueError, match="not on this machine"):
        store.get_local_path("s3://bucket/x")


def test_the_marker_is_made_once_and_read_again(tmp_path):
    url = store.make_file_url(tmp_path / "store")
    assert store.read_marker(url) is None
    marker = store.ensure_marker(url)
    assert len(marker) == 32
    assert store.ensure_marker(url) == marker
    assert store.read_marker(url) == marker
    assert os.listdir(tmp_path / "store") == [store.MARKER_NAME]


def test_of_many_that_make_the_marker_at_once_all_see_one(tmp_path):
    url = store.make_file_url(tmp_path / "store")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(store.ensure_marker(url))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8


def test_a_store_elsewhere_serves_the_same_calls():
    url = "memory://store-test"
    marker = store.ensure_marker(url)
    assert store.read_marker(url) == marker
    name = store.join_url(url, "runs", "x")
    with store.open_url(name, "wb") as file:
        file.write(b"12345")
    filesystem, path = store.open_filesystem(name)
    assert filesystem.size(path) == 5
    store.remove_folder(url)
    assert not filesystem.exists(path)
    store.remove_folder(url)


def test_a_local_folder_is_removed(tmp_path):
    url = store.make_file_url(tmp_path / "folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"123")
    store.remove_folder(url)
    assert not (tmp_path / "folder").exists()
    store.remove_folder(url)


def test_what_cannot_be_removed_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"123")
    with pytest.raises(NotADirectoryError):
        store.remove_folder(store.make_file_url(tmp_path / "file"))
    assert (tmp_path / "file").exists()
