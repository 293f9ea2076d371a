"""What a narrow terminal shows."""

from __future__ import annotations

from rich.console import Console

from dag_engine.cli.watching import _render


def test_a_long_reason_gives_way_to_name_and_state() -> None:
    task = {
        "operator": "a",
        "title": "邏輯回歸二分類",
        "state": "failed",
        "reason": "error",
        "message": "ValueError: it goes on and on " * 5,
        "started_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:00:01Z",
    }
    console = Console(width=60, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(_render({"id": "r1", "state": "running"}, [task], 10))
    line = capture.get().splitlines()[0]
    assert line.startswith("✗  邏輯回歸二分類  failed ")
    assert "ValueError" in line
