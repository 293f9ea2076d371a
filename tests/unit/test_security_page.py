"""SECURITY.md and docs/operations.md name only what exists."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.bad_input.cases import CASES

ROOT = Path(__file__).resolve().parents[2]
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_test_that_the_security_page_names_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = _TEST.findall(text)
    assert len(named) > 10
    for path, function in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, (path, function)


def test_every_case_of_bad_input_that_the_security_page_names_exists() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\bS\d+\b", text))
    assert len(named) > 20
    assert named <= CASES.keys(), sorted(named - CASES.keys())


def test_every_figure_that_the_operations_page_names_is_measured() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    named = {
        re.sub(r"_(bucket|total)$", "", name) for name in re.findall(r"\bdagengine_[a-z_]+", text)
    }
    source = "".join(
        (ROOT / "dag_engine" / "api" / name).read_text(encoding="utf-8")
        for name in ("metrics.py", "durations.py")
    )
    known = set(re.findall(r'"(?:dagengine_)?([a-z_]+)"', source))
    lacking = {
        name
        for name in named
        if name.removeprefix("dagengine_") not in known
        and not re.fullmatch(r"dagengine_last_(backup|housekeeping)_timestamp_seconds", name)
    }
    assert len(named) > 20
    assert not lacking
