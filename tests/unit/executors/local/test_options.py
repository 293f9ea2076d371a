import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executors.base import ExecutorSettings
from executors.local.errors import LocalOptionsError
from executors.local.launch import supervisor_command
from executors.local.options import (
    PoolPaths,
    PoolSettings,
    log_path,
    read_options,
)
from executors.local.startup import take_lock
from tests.support.pickling import copy_by_pickle


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"worker": 3}, "unknown field `worker`"),
        ({"workers": "many"}, r"Expected `int`, got `str` - at `\$.workers`"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"log_limit_bytes": 10}, "log_limit_bytes must be at least 1024, not 10"),
        ({"memory_mb": 0}, "memory_mb must be at least 1, not 0"),
        ({"max_open_files": 3}, "max_open_files must be at least 64, not 3"),
        ({"cgroups": "never"}, "cgroups must be auto or off, not 'never'"),
        ({"cgroups": True}, "cgroups must be auto or off, not True"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(LocalOptionsError, match=said) as caught:
        read_options("本地", options)
    assert "'本地'" in str(caught.value)
    assert str(copy_by_pickle(caught.value)) == str(caught.value)


def test_cgroups_are_used_unless_switched_off() -> None:
    assert read_options("local", {}).cgroups == "auto"
    assert read_options("local", {"cgroups": "off"}).cgroups == "off"
    assert read_options("local", {"cgroups": False}).cgroups == "off"  # YAML's off


def test_slots_are_the_workers_then_the_engine_s_then_two_per_core(tmp_path: Path) -> None:
    def n_slots(workers: int, slots: int) -> int:
        executor = ExecutorSettings(home="h", logs="l", store_url="s", slots=slots)
        options = read_options("local", {"workers": workers})
        return PoolSettings(name="local", options=options, executor=executor).n_slots

    assert (n_slots(3, 8), n_slots(0, 8)) == (3, 8)
    assert n_slots(0, 0) == 2 * (os.cpu_count() or 1)


def test_command_names_a_settings_file_that_only_its_owner_may_read(tmp_path: Path) -> None:
    settings = ExecutorSettings(home=str(tmp_path), logs="logs", store_url="file:///store")
    command = supervisor_command("local", {"workers": 2}, settings)
    assert command[1:3] == ["-m", "executors.local.supervisor"]
    path = Path(command[3])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    read = msgspec.json.decode(path.read_bytes(), type=PoolSettings)
    assert (read.name, read.options.workers, read.executor) == ("local", 2, settings)


def test_pools_of_any_name_have_files_of_their_own(tmp_path: Path) -> None:
    names = ["local", "本地python", "a/b", "a:b", "..", "x" * 300]
    paths = [PoolPaths(str(tmp_path), name).socket for name in names]
    assert len(set(paths)) == len(names)
    for path in paths:
        assert os.path.dirname(os.path.normpath(path)) == str(tmp_path / "run")
        assert len(os.path.basename(path).encode()) < 255


def test_log_of_an_attempt_lies_in_its_run_s_folder() -> None:
    assert log_path("/logs", "rabc.3.2") == "/logs/rabc/3.2.log"


def test_lock_is_held_by_one_supervisor(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    first = take_lock(path, 0.0)
    assert first is not None
    assert take_lock(path, 0.0) is None
    first.close()
    second = take_lock(path, 0.0)
    assert second is not None
    assert Path(path).read_text() == f"{os.getpid()}\n"
    second.close()
