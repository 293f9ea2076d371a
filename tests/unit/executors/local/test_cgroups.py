"""Paths, limits and counters, mostly of version 2.

Version 2 is played by plain folders into which `FakeKernel` writes what a kernel would: it shows
what is written where, not that a kernel obeys. A real hierarchy (of the version that the machine
has) is used in `tests/contract/executors/test_local_cgroups.py`.
"""

import os
import shutil
from pathlib import Path

import pytest

from executors.local import cgroups, pens
from executors.local.cgroups import Cages, Place, find_delegated, find_place
from executors.local.errors import CgroupsUnusableError
from executors.local.pens import Pens

V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "33 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
V2_FILES = {
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "cgroup.events": "populated 0\nfrozen 0\n",
    "cgroup.kill": "",
    "memory.max": "max\n",
    "pids.max": "max\n",
    "pids.events": "max 0\n",
    "memory.swap.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
}


class FakeKernel:
    """Fills a new cgroup with its files, and removes them with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.removed: list[str] = []
        self.at_removal: dict[str, dict[str, str]] = {}
        monkeypatch.setattr(cgroups, "make_group", self.make)
        monkeypatch.setattr(cgroups, "remove_group", self.remove)

    def make(self, path: str | Path) -> None:
        os.mkdir(path)
        for name, text in V2_FILES.items():
            Path(path, name).write_text(text)

    def remove(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(path)
        if any(entry.is_dir() for entry in os.scandir(path)):
            raise OSError("busy")
        files = {entry.name: Path(entry.path).read_text() for entry in os.scandir(path)}
        self.at_removal[os.path.basename(path)] = files
        shutil.rmtree(path)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    return FakeKernel(monkeypatch)


@pytest.fixture
def service(tmp_path: Path, kernel: FakeKernel) -> Path:
    """A delegated cgroup whose processes are in its subgroup `services`."""
    path = tmp_path / "dagengine.service"
    kernel.make(path)
    kernel.make(path / "services")
    return path


@pytest.fixture
def cages(service: Path, kernel: FakeKernel) -> Cages:
    kernel.make(service / "pool")
    return Cages(version=2, own=str(service / "services"), folder=str(service / "pool"))


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mountinfo", "memberships", "expected"),
    [
        (V2, "0::/a/b\n", Place(2, "/sys/fs/cgroup", "/sys/fs/cgroup/a/b")),
        (V2, "0::/\n", Place(2, "/sys/fs/cgroup", "/sys/fs/cgroup")),
        (
            V1,
            "2:cpu,cpuacct:/x\n4:memory:/own\n0::/u\n",
            Place(1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/own"),
        ),
        # A container that sees only its part of the hierarchy, under the path of the whole.
        (
            "35 31 0:32 /docker/abc /cg\\040memory ro - cgroup cgroup rw,memory\n",
            "4:memory:/docker/abc/x\n",
            Place(1, "/cg memory", "/cg memory/x"),
        ),
        # Mounted twice; only the second shows our part.
        (
            V2.replace(" / /", " /other /mnt/") + V2,
            "0::/a\n",
            Place(2, "/sys/fs/cgroup", "/sys/fs/cgroup/a"),
        ),
    ],
)
def test_own_cgroup_is_found(mountinfo: str, memberships: str, expected: Place) -> None:
    assert find_place(mountinfo, memberships) == expected


@pytest.mark.parametrize(
    ("mountinfo", "memberships", "said"),
    [
        ("", "", "in no cgroup"),
        ("broken line\n", "0::/a\n", "not mounted"),
        (V2, "4:memory:/a\n0::/\n", r"/a \(version 1\) is not mounted"),
        (V2, "0::/../a\n", "outside of this namespace"),
    ],
)
def test_why_there_is_no_own_cgroup_is_said(mountinfo: str, memberships: str, said: str) -> None:
    with pytest.raises(CgroupsUnusableError, match=said):
        find_place(mountinfo, memberships)


def test_cgroups_are_made_below_the_own_one_where_it_may_have_children(service: Path) -> None:
    (service / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert find_delegated(Place(2, "/nowhere", str(service))) == str(service)


def test_cgroups_are_made_beside_the_own_one_in_the_root_of_a_container(service: Path) -> None:
    own = Place(2, str(service), str(service / "services"))
    assert find_delegated(own) == str(service)
    assert (service / "cgroup.subtree_control").read_text() == "+memory"


def test_cgroups_are_made_beside_the_own_one_where_systemd_delegated(service: Path) -> None:
    own = Place(2, "/sys/fs/cgroup", str(service / "services"))
    try:
        os.setxattr(service, "user.delegate", b"1")
    except OSError:
        pytest.skip("the file system of the temporary folder keeps no attributes")
    assert find_delegated(own) == str(service)
    os.setxattr(service, "user.delegate", b"0")
    with pytest.raises(CgroupsUnusableError):
        find_delegated(own)


@pytest.mark.parametrize("mount", ["/sys/fs/cgroup", "own"])
def test_what_was_not_delegated_is_left_alone(service: Path, mount: str) -> None:
    path = str(service / "services")
    with pytest.raises(CgroupsUnusableError, match="not delegated"):
        find_delegated(Place(2, path if mount == "own" else mount, path))
    assert (service / "cgroup.subtree_control").read_text() == ""


def test_root_of_all_cgroups_is_not_taken_for_a_container_s(service: Path) -> None:
    (service / "cgroup.events").unlink()
    with pytest.raises(CgroupsUnusableError, match="not delegated"):
        find_delegated(Place(2, str(service), str(service / "services")))


def test_opening_tries_a_limit_and_leaves_an_empty_folder(
    service: Path, kernel: FakeKernel
) -> None:
    place = Place(2, str(service), str(service / "services"))
    left = service / "dagengine-local-77-1"
    kernel.make(left)
    kernel.make(left / "r1.1.1")
    opened = cgroups.make_cages(place, "dagengine-local-77-")
    assert opened.folder == str(service / f"dagengine-local-77-{os.getpid()}")
    assert opened.own == str(service / "services")
    assert not left.exists()
    assert Path(opened.folder, "cgroup.subtree_control").read_text() == "+memory +pids"
    assert kernel.at_removal["probe"]["memory.max"] == str(64 * 1024 * 1024)
    opened.close()
    assert not os.path.exists(opened.folder)


def test_controller_that_cannot_be_had_leaves_nothing(
    service: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(2, str(service), str(service / "services"))
    monkeypatch.delitem(V2_FILES, "memory.max")
    with pytest.raises(FileNotFoundError):
        cgroups.make_cages(place, "dagengine-local-77-")
    assert list(service.glob("dagengine-*")) == []


def test_switched_off_is_told_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert cgroups.open_cages("local", "here", is_wanted=False) is None
    assert "kept_by=watching" in caplog.text


def test_machine_without_cgroups_is_told_and_no_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(cgroups, "_read", lambda path: "")
    assert cgroups.open_cages("local", "here", is_wanted=True) is None
    assert "kept_by=watching why='this process is in no cgroup for memory'" in caplog.text


def test_pools_of_the_same_name_have_folders_of_their_own() -> None:
    names = {cgroups.folder_prefix("local", home) for home in ("/a", "/b")}
    assert len(names) == 2
    assert all(name.startswith("dagengine-local-") for name in names)


# --- limits and counters --------------------------------------------------------------------------


def test_limit_of_version_2_allows_no_swap_and_kills_the_whole_group(cages: Cages) -> None:
    cages.enter("r1.1.1", 300, 100)
    path = Path(cages.path("r1.1.1"))
    assert (path / "memory.max").read_text() == "314572800"
    assert (path / "memory.swap.max").read_text() == "0"
    assert (path / "memory.oom.group").read_text() == "1"
    assert (path / "cgroup.procs").read_text() == "0"
    assert cages.leave("r1.1.1")
    assert Path(cages.own, "cgroup.procs").read_text() == "0"
    assert not path.exists()


def test_kernel_without_swap_accounting_keeps_the_limit(
    cages: Cages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(V2_FILES, "memory.swap.max")
    cages.enter("r1.1.1", 300, 100)
    path = Path(cages.path("r1.1.1"))
    assert (path / "memory.max").read_text() == "314572800"
    assert not (path / "memory.swap.max").exists()


def test_failed_entry_leaves_no_cgroup(cages: Cages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(V2_FILES, "cgroup.procs")
    with pytest.raises(FileNotFoundError):
        cages.enter("r1.1.1", 300, 100)
    assert not cages.has("r1.1.1")


def test_worker_that_cannot_return_says_so(cages: Cages) -> None:
    cages.enter("r1.1.1", 300, 100)
    Path(cages.own, "cgroup.procs").unlink()
    assert not cages.leave("r1.1.1")


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("oom 0\noom_kill 0\n", ""),
        ("max 12\noom 1\noom_kill 0\n", ""),
        ("max 12\noom 1\noom_kill 2\noom_group_kill 1\n", "limit"),
        ("max 0\noom 0\noom_kill 1\n", "elsewhere"),
        ("", ""),
    ],
)
def test_events_of_version_2_are_read(cages: Cages, events: str, expected: str) -> None:
    cages.enter("r1.1.1", 300, 100)
    Path(cages.path("r1.1.1"), "memory.events").write_text(events)
    assert cages.killing("r1.1.1") == expected


@pytest.mark.parametrize(
    ("control", "peak", "expected"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", 1 << 30, ""),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", (300 << 20) - 4096, "limit"),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 200 << 20, "elsewhere"),
        ("oom_kill_disable 0\nunder_oom 0\n", 300 << 20, ""),  # kernels before 4.13
    ],
)
def test_counters_of_version_1_are_read(
    tmp_path: Path, control: str, peak: int, expected: str
) -> None:
    cages = Cages(version=1, own=str(tmp_path), folder=str(tmp_path))
    path = tmp_path / "r1.1.1"
    path.mkdir()
    (path / "memory.oom_control").write_text(control)
    (path / "memory.limit_in_bytes").write_text(f"{300 << 20}\n")
    (path / "memory.max_usage_in_bytes").write_text(f"{peak}\n")
    assert cages.killing("r1.1.1") == expected


def test_attempt_without_a_cgroup_was_not_killed_in_one(cages: Cages) -> None:
    assert cages.killing("r1.1.1") == ""
    assert not cages.has("r1.1.1")
    assert cages.remove("r1.1.1")
    cages.kill("r1.1.1")


def test_kill_of_version_2_is_one_word_to_the_kernel(cages: Cages) -> None:
    cages.enter("r1.1.1", 300, 100)
    cages.kill("r1.1.1")
    assert Path(cages.path("r1.1.1"), "cgroup.kill").read_text() == "1"


def test_kills_are_counted_where_workers_are_charged(tmp_path: Path) -> None:
    place = Place(2, str(tmp_path), str(tmp_path / "service" / "own"))
    Path(place.path).mkdir(parents=True)
    assert cgroups.find_counters_of(place) == []
    events = {
        "service/own/memory.events": "oom 0\noom_kill 7\n",
        "service/own/memory.events.local": "oom 0\noom_kill 2\n",
        "service/memory.events.local": "oom 0\noom_kill 1\n",
        "memory.events.local": "oom 0\noom_kill 90\n",
    }
    for name, text in list(events.items())[:1]:
        (tmp_path / name).write_text(text)
    assert cgroups.count_oom_kills(cgroups.find_counters_of(place)) == 7, "an old kernel"
    for name, text in events.items():
        (tmp_path / name).write_text(text)
    assert cgroups.count_oom_kills(cgroups.find_counters_of(place)) == 3


def test_kills_are_counted_where_pens_hold_the_memory_of_workers(tmp_path: Path) -> None:
    place = Place(2, str(tmp_path), str(tmp_path / "service" / "own"))
    folder = tmp_path / "service" / "pens"
    Path(place.path).mkdir(parents=True)
    folder.mkdir()
    for name, n_kills in (("own", 2), ("pens", 4)):
        events = tmp_path / "service" / name / "memory.events"
        events.write_text(f"oom 0\noom_kill {n_kills}\n")
    counters = cgroups.find_counters_of(place, str(folder))
    assert cgroups.count_oom_kills(counters) == 6, "an old kernel"
    (tmp_path / "service" / "own" / "memory.events.local").write_text("oom 0\noom_kill 1\n")
    (folder / "memory.events.local").write_text("oom 0\noom_kill 3\n")
    counters = cgroups.find_counters_of(place, str(folder))
    assert cgroups.count_oom_kills(counters) == 4


# --- processes ------------------------------------------------------------------------------------


@pytest.fixture
def yard(service: Path, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Pens:
    place = Place(2, str(service), str(service / "services"))
    monkeypatch.setattr(cgroups, "find_own_place", lambda controller: place)
    opened = pens.open_pens("local", "here", 40, is_wanted=True)
    assert opened is not None
    return opened


def test_pen_holds_the_worker_and_the_limit(yard: Pens, service: Path) -> None:
    yard.enter(7)
    pen = Path(yard.path(7))
    assert (pen / "pids.max").read_text() == "40"
    assert (pen / "cgroup.procs").read_text() == "0"
    assert (service / "cgroup.subtree_control").read_text() == "+pids"
    assert Path(yard.folder, "cgroup.subtree_control").read_text() == "+pids"
    (pen / "pids.events").write_text("max 0\n")
    assert yard.count_refusals(7) == 0
    (pen / "pids.events").write_text("max 12\n")
    assert yard.count_refusals(7) == 12


def test_what_a_limit_above_the_pen_refuses_is_not_blamed_on_the_attempt(yard: Pens) -> None:
    yard.enter(7)
    pen = Path(yard.path(7))
    (pen / "pids.events").write_text("max 12\n")
    (pen / "pids.peak").write_text("39\n")
    assert yard.count_refusals(7) == 0
    (pen / "pids.current").write_text("40\n")
    assert yard.count_refusals(7) == 12, "the kernel may have missed a peak"
    (pen / "pids.current").write_text("1\n")
    (pen / "pids.peak").write_text("40\n")
    assert yard.count_refusals(7) == 12


def test_pen_of_a_dead_worker_with_the_same_number_is_made_anew(yard: Pens) -> None:
    yard.enter(7)
    pen = Path(yard.path(7))
    (pen / "pids.events").write_text("max 12\n")
    yard.enter(7)
    assert yard.count_refusals(7) == 0
    assert (pen / "cgroup.procs").read_text() == "0"


@pytest.mark.parametrize("refused", ["pids.max", "cgroup.procs"])
def test_pen_that_cannot_be_entered_is_not_left_for_the_watch_to_trust(
    yard: Pens, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.delitem(V2_FILES, refused)
    with pytest.raises(FileNotFoundError):
        yard.enter(7)
    assert not yard.has(7)


def test_pen_is_shut_before_its_inmates_are_killed(yard: Pens) -> None:
    yard.enter(7)
    (Path(yard.path(7)) / "cgroup.procs").write_text("")
    yard.kill(7)
    assert Path(yard.path(7), "pids.max").read_text() == "0"
    assert Path(yard.path(7), "cgroup.kill").read_text() == "1"
    assert yard.remove(7)
    assert not yard.has(7)


def test_pen_that_is_not_empty_is_shut_before_it_is_removed(
    yard: Pens, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise OSError(f"{path} is busy")

    yard.enter(7)
    (Path(yard.path(7)) / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroups, "remove_group", refuse)
    assert not yard.remove(7)
    assert Path(yard.path(7), "pids.max").read_text() == "0"
    assert Path(yard.path(7), "cgroup.kill").read_text() == "1"


def test_attempt_with_a_memory_limit_has_the_limit_of_processes_too(cages: Cages) -> None:
    cages.enter("r1.1.1", 300, 40)
    assert Path(cages.path("r1.1.1"), "pids.max").read_text() == "40"
    assert cages.leave("r1.1.1", str(cages.folder))
    assert Path(cages.folder, "cgroup.procs").read_text() == "0"


def test_machine_that_cannot_limit_processes_is_told_and_no_error(
    service: Path,
    kernel: FakeKernel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    place = Place(2, str(service), str(service / "services"))
    monkeypatch.setattr(cgroups, "find_own_place", lambda controller: place)
    monkeypatch.delitem(V2_FILES, "pids.max")
    assert pens.open_pens("local", "here", 40, is_wanted=True) is None
    assert "process_limits kept_by=watching" in caplog.text
    assert list(service.glob("dagengine*")) == []
