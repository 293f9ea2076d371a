"""Takes a guard out of a copy of the project and runs tests on it: they have to go red."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.services import ROOT, make_environment

_TESTS_FAILED = 1
_STOP_S = 60.0
_LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "var",
    "build",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    "vendor",
)
_SUMMARY = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cut:
    """One place of the source that a mutation changes; `old` stands there exactly once."""

    path: str
    old: str
    new: str

    def count(self, root: Path) -> int:
        """Tell how often the place is found; anything but 1 means that the code has moved on."""
        return (root / self.path).read_text(encoding="utf-8").count(self.old)

    def apply(self, root: Path) -> None:
        """Change the place in a copy of the project."""
        path = root / self.path
        path.write_text(path.read_text(encoding="utf-8").replace(self.old, self.new), "utf-8")


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that have to go red.

    `sign` is a regular expression that their output must match then: what tells a suite of real
    processes that noticed the missing guard from one that had no luck with the machine.
    """

    tests: str
    sign: str = ""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A guard that is taken out, and the suites each of which has to notice it."""

    name: str
    about: str
    cuts: tuple[Cut, ...]
    suites: tuple[Suite, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """How a suite ended on a mutated copy."""

    mutation: str
    suite: Suite
    exit_code: int
    first_failure: str
    output: str

    @property
    def is_red(self) -> bool:
        """Whether tests failed, rather than could not be run."""
        has_failed = self.exit_code == _TESTS_FAILED and bool(self.first_failure)
        return has_failed and re.search(self.suite.sign, self.output) is not None


@contextmanager
def copy_of_project() -> Iterator[Path]:
    """Copy what the tests need; the copy is gone after the block."""
    with tempfile.TemporaryDirectory(prefix="dagengine-mutation-") as folder:
        root = Path(folder) / "project"
        shutil.copytree(ROOT, root, ignore=_LEFT_OUT)
        yield root


def run_suite(root: Path, tests: str, *, timeout_s: float = 300.0) -> tuple[int, str]:
    """Run tests in a copy until the first that fails; gives the exit code and the output.

    The processes that the tests start take their code from the copy, too: its folder comes before
    whatever is installed. Their temporary files lie beside the copy: several of pytest that tidy up
    one folder at once trip over each other.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--maxfail=1"]
    command += [f"--basetemp={root.with_name('temporary')}"]
    process = subprocess.Popen(
        [*command, *tests.split()],
        cwd=root,
        env=make_environment() | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # so that the tests end what they have started
        output, _ = process.communicate(timeout=_STOP_S)
    return process.returncode, output


def try_mutation(mutation: Mutation, suite: Suite) -> Trial:
    """Run one suite on a copy without the guard."""
    with copy_of_project() as root:
        for cut in mutation.cuts:
            cut.apply(root)
        exit_code, output = run_suite(root, suite.tests)
    failures = _SUMMARY.findall(output)
    return Trial(mutation.name, suite, exit_code, failures[0] if failures else "", output)


def describe_trials(trials: Sequence[Trial]) -> str:
    """Write the trials as a Markdown table."""
    lines = ["| taken out | suite | first test that notices |", "|---|---|---|"]
    for trial in trials:
        first = trial.first_failure.rpartition("::")[2] if trial.is_red else "**none**"
        lines.append(f"| {trial.mutation} | `{trial.suite.tests}` | {first} |")
    n_red = sum(trial.is_red for trial in trials)
    return "\n".join([*lines, "", f"mutations: {len(trials)} trials, {n_red} red"])
