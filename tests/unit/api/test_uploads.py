import errno
import os
import time
from pathlib import Path

from werkzeug.exceptions import RequestEntityTooLarge

from dag_engine.api.errors import DiskFullError, TooLargeError
from dag_engine.api.uploads import _translate, incoming_folder, remove_leftovers


def test_only_old_leftovers_of_uploads_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "datasets" / ".incoming"
    folder.mkdir(parents=True)
    for name, age_s in (("old", 25 * 3600), ("fresh", 60)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age_s,) * 2)

    remove_leftovers(f"file://{tmp_path}/store", tmp_path, time.time())

    assert [path.name for path in folder.iterdir()] == ["fresh"]


def test_store_elsewhere_is_received_for_at_home(tmp_path: Path) -> None:
    assert incoming_folder("s3://bucket/store", tmp_path) == tmp_path


def test_full_disk_and_too_long_body_are_named() -> None:
    full = _translate(OSError(errno.ENOSPC, "No space left on device"))

    assert isinstance(full, DiskFullError)
    assert full.status == 507
    assert isinstance(_translate(RequestEntityTooLarge()), TooLargeError)
    assert isinstance(_translate(KeyboardInterrupt()), KeyboardInterrupt)
