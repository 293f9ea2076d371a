"""The launcher with real processes: started, restarted, ended, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from operator_engine.child_process import trim_log
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
SLEEPER = "import time; print('alive', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
RUNAWAY = (  # has a descendant in a session of its own, which no signal to the group reaches
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
    " start_new_session=True); "
    "open({path!r}, 'a').write(f'{{child.pid}}\\n'); time.sleep(600)"
)


class LaunchedHome:
    """A launcher process on a home folder."""

    def __init__(self, home: Path, specs: list[dict[str, Any]], **plan: Any) -> None:
        self.home = home
        path = home / "plan.json"
        path.write_text(json.dumps({"home": str(home), "specs": specs, **plan}), encoding="utf-8")
        self._log = (home / "launcher.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.launcher_script", str(path)],
            cwd=ROOT,
            stderr=self._log,
        )

    def find_pid(self, name: str, *, other_than: int = 0) -> int:
        def find() -> int:
            try:
                pid = int((self.home / "run" / f"{name}.pid").read_text(encoding="ascii"))
            except (FileNotFoundError, ValueError):
                return 0
            return 0 if pid == other_than else pid

        return wait_until(find, 10, self.read_log)

    def read_log(self) -> str:
        return (self.home / "launcher.log").read_text(encoding="utf-8")

    def read_child_log(self, name: str) -> str:
        path = self.home / "logs" / "services" / f"{name}.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., LaunchedHome]]:
    launched: list[LaunchedHome] = []

    def make(*specs: dict[str, Any], **plan: Any) -> LaunchedHome:
        launched.append(LaunchedHome(tmp_path, list(specs), **plan))
        return launched[-1]

    yield make
    for item in launched:
        item.close()


def is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_ends_all_children(launch: Callable[..., LaunchedHome], number: int) -> None:
    home = launch({"name": "one", "code": SLEEPER}, {"name": "two", "code": SLEEPER})
    pids = [home.find_pid("one"), home.find_pid("two")]
    wait_until(lambda: "alive" in home.read_child_log("two"))

    assert home.stop(number) == 0

    assert not any(is_running(pid) for pid in pids)
    assert not list((home.home / "run").glob("one.pid"))


def test_child_is_told_its_environment_and_logs_to_its_file(
    launch: Callable[..., LaunchedHome],
) -> None:
    code = "import os, time; print(os.environ['COLOUR'], os.environ['PATH'] != ''); time.sleep(600)"
    home = launch(
        {"name": "one", "code": f"{code}", "env": {"COLOUR": "绿", "PYTHONUNBUFFERED": "1"}}
    )
    wait_until(lambda: "绿 True" in home.read_child_log("one"))


def test_passwords_and_tokens_of_the_configuration_reach_no_child(
    launch: Callable[..., LaunchedHome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What workers run can read the environment of every process of their user (S45)."""
    monkeypatch.setenv("DAGENGINE__DATABASE__URL", "mysql+pymysql://u:canary@db/x")
    monkeypatch.setenv("DAGENGINE__ENGINE__TOKEN", "canary")
    monkeypatch.setenv("DAGENGINE_TOKEN", "canary")
    home = launch({"name": "one", "code": SLEEPER, "env": {"PYTHONUNBUFFERED": "1"}})
    pid = home.find_pid("one")
    wait_until(lambda: "alive" in home.read_child_log("one"))

    environment = Path(f"/proc/{pid}/environ").read_bytes()

    assert b"PYTHONUNBUFFERED" in environment
    assert b"canary" not in environment


def test_killed_child_is_started_again_at_once(launch: Callable[..., LaunchedHome]) -> None:
    home = launch({"name": "one", "code": SLEEPER}, {"name": "two", "code": SLEEPER})
    one, two = home.find_pid("one"), home.find_pid("two")

    killed_at = time.monotonic()
    os.kill(one, signal.SIGKILL)
    new = home.find_pid("one", other_than=one)

    assert time.monotonic() - killed_at < 1.0
    assert new != one
    assert home.find_pid("two") == two
    assert home.stop() == 0
    restarts = json.loads((home.home / "restarts.json").read_text())
    assert restarts == [["one", -signal.SIGKILL, 0.0]]


def test_child_that_dies_again_and_again_is_started_ever_more_slowly(
    launch: Callable[..., LaunchedHome],
) -> None:
    home = launch({"name": "one", "code": "raise SystemExit(3)"})
    wait_until(lambda: home.read_log().count("process_died") >= 4, 20, home.read_log)
    assert home.stop() == 0
    restarts = json.loads((home.home / "restarts.json").read_text())
    assert restarts[:4] == [["one", 3, pause_s] for pause_s in (0.0, 0.25, 0.5, 1.0)]


def test_stubborn_child_is_killed_after_the_grace_time(
    launch: Callable[..., LaunchedHome],
) -> None:
    home = launch({"name": "one", "code": STUBBORN}, grace_s=0.3)
    pid = home.find_pid("one")
    wait_until(lambda: "alive" in home.read_child_log("one"))
    assert home.stop() == 0
    assert not is_running(pid)
    assert "process_killed name=one" in home.read_log()


def test_second_request_does_not_wait_for_the_grace_time(
    launch: Callable[..., LaunchedHome],
) -> None:
    home = launch({"name": "one", "code": STUBBORN}, grace_s=600)
    home.find_pid("one")
    wait_until(lambda: "alive" in home.read_child_log("one"))
    home.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        home.process.wait(0.3)
    assert home.stop() == 0


FINISHER = (  # ends by itself once a file is there, after SIGUSR1
    "import os, signal, time; signal.signal(signal.SIGUSR1, lambda *_: print('drain', flush=True));"
    " print('alive', flush=True)\n"
    "while not os.path.exists({path!r}): time.sleep(0.01)"
)
NOTER = (  # writes down when it was asked to end
    "import signal, time\n"
    "def end(*_):\n"
    "    open({path!r}, 'a').write('{name}\\n'); raise SystemExit\n"
    "signal.signal(signal.SIGTERM, end); print('alive', flush=True); time.sleep(600)"
)


def test_work_may_end_before_anything_is_ended_and_then_stage_follows_stage(
    launch: Callable[..., LaunchedHome], tmp_path: Path
) -> None:
    gate, order = tmp_path / "gate", tmp_path / "order"
    home = launch(
        {"name": "api", "code": NOTER.format(path=str(order), name="api"), "stop_stage": 9},
        {"name": "pool", "code": NOTER.format(path=str(order), name="pool")},
        {"name": "main", "code": FINISHER.format(path=str(gate)), "is_drained": True},
        drain_s=60,
    )
    for name in ("api", "pool", "main"):
        wait_until(lambda name=name: "alive" in home.read_child_log(name), 20, home.read_log)
    home.process.terminate()
    wait_until(lambda: "drain" in home.read_child_log("main"), 10, home.read_log)
    pool = home.find_pid("pool")
    os.kill(pool, signal.SIGKILL)  # what is needed until the end is started again
    assert home.find_pid("pool", other_than=pool)
    wait_until(lambda: home.read_child_log("pool").count("alive") == 2, 10, home.read_log)
    assert not order.exists()
    gate.touch()
    assert home.process.wait(20) == 0
    assert order.read_text().split() == ["pool", "api"]
    assert (home.home / "hurried").read_text() == "False"
    assert [name for name, *_ in json.loads((home.home / "restarts.json").read_text())] == ["pool"]


@pytest.mark.parametrize(("drain_s", "is_asked_again"), [(2.0, False), (600, True)])
def test_work_that_does_not_end_is_waited_for_until_the_grace_time_or_another_request(
    launch: Callable[..., LaunchedHome], tmp_path: Path, drain_s: float, is_asked_again: bool
) -> None:
    code = FINISHER.format(path=str(tmp_path / "never"))
    home = launch({"name": "main", "code": code, "is_drained": True}, drain_s=drain_s)
    wait_until(lambda: "alive" in home.read_child_log("main"), 20, home.read_log)
    home.process.terminate()
    wait_until(lambda: "drain" in home.read_child_log("main"), 10, home.read_log)
    if is_asked_again:
        assert home.stop() == 0
    assert home.process.wait(20) == 0
    assert (home.home / "hurried").read_text() == str(is_asked_again)


def test_descendants_of_a_dead_child_are_ended_before_its_successor_runs(
    launch: Callable[..., LaunchedHome], tmp_path: Path
) -> None:
    pids_path = tmp_path / "descendants"
    home = launch({"name": "one", "code": RUNAWAY.format(path=str(pids_path))})
    first = home.find_pid("one")
    wait_until(lambda: pids_path.exists() and pids_path.read_text().endswith("\n"))
    descendant = int(pids_path.read_text())

    os.kill(first, signal.SIGKILL)
    home.find_pid("one", other_than=first)
    assert not is_running(descendant)

    wait_until(lambda: pids_path.read_text().count("\n") == 2)
    assert home.stop() == 0
    assert not any(is_running(int(line)) for line in pids_path.read_text().split())


def test_children_die_with_a_killed_launcher(launch: Callable[..., LaunchedHome]) -> None:
    home = launch({"name": "one", "code": STUBBORN}, {"name": "two", "code": SLEEPER})
    pids = [home.find_pid("one"), home.find_pid("two")]
    wait_until(lambda: "alive" in home.read_child_log("one"))
    home.stop(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in pids), 2)


def test_second_launcher_on_one_home_is_refused(launch: Callable[..., LaunchedHome]) -> None:
    home = launch({"name": "one", "code": SLEEPER})
    pid = home.find_pid("one")

    second = launch({"name": "one", "code": SLEEPER})

    assert second.process.wait(10) == 1
    said = second.read_log()
    assert (
        f"The folder {home.home} is in use by another service (process {home.process.pid})" in said
    )
    assert is_running(pid)
    # The lock goes with its holder, however that ends.
    home.stop(signal.SIGKILL)
    third = launch({"name": "one", "code": SLEEPER})
    assert third.find_pid("one", other_than=pid)


def test_ready_is_told_once_all_checks_pass(
    launch: Callable[..., LaunchedHome], tmp_path: Path
) -> None:
    ready_file = tmp_path / "is_ready"
    home = launch(
        {"name": "one", "code": SLEEPER},
        {"name": "two", "code": SLEEPER, "ready_file": str(ready_file)},
    )
    wait_until(lambda: "alive" in home.read_child_log("two"))
    assert not (tmp_path / "all_ready").exists()
    ready_file.touch()
    wait_until((tmp_path / "all_ready").exists)
    assert home.stop() == 0


def test_log_of_a_process_that_runs_is_put_aside_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    with path.open("ab", buffering=0) as file:
        for number in range(1, 6):
            file.write(f"line {number} ".encode() * 20)
            trim_log(path, 100)
            assert path.stat().st_size == 0
        file.write(b"short")
        trim_log(path, 100)
    kept = {one.name: one.read_text()[:6] for one in tmp_path.iterdir()}
    assert kept == {
        "api.log": "short", "api.log.1": "line 5", "api.log.2": "line 4", "api.log.3": "line 3",
    }  # fmt: skip
