import os

import pytest

from executors.runtime.errors import LoadingError
from executors.runtime.loading import digest_file, load_algorithm, make_code_version

SOURCE = """
from pydantic import BaseModel
from algorithms.base import algorithm

class Params(BaseModel):
    pass

@algorithm("mine", title="Mine")
def mine(context, params: Params):
    return VALUE
"""


def write(path, value):
    path.write_text(SOURCE.replace("VALUE", str(value)), encoding="utf-8")
    return make_code_version("1", digest_file(path))


def test_a_file_is_loaded_once_for_each_version(tmp_path):
    path = tmp_path / "mine.py"
    version = write(path, 1)
    entry = f"{path}:mine"
    one = load_algorithm(entry, version)
    assert load_algorithm(entry, version) is one
    assert one.info.function(None, None) == 1
    newer = write(path, 2)
    assert load_algorithm(entry, newer).info.function(None, None) == 2
    assert load_algorithm(entry, version).info.function(None, None) == 1


def test_code_that_was_not_offered_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    version = write(path, 1)
    write(path, 2)
    with pytest.raises(LoadingError, match="is not the one that was offered") as caught:
        load_algorithm(f"{path}:mine", version)
    assert "Restart the operator engine" in caught.value.hint


def test_a_module_that_changed_since_it_was_loaded_is_loaded_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "module_that_changes.py"
    version = write(path, 1)
    entry = "module_that_changes:mine"
    assert load_algorithm(entry, version).info.function(None, None) == 1
    newer = write(path, 20)
    os.utime(path, (0, 0))
    assert load_algorithm(entry, newer).info.function(None, None) == 20
