"""Runs a launcher in a process of its own: `python -m tests.support.launcher_script FILE.json`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from operator_engine.child_process import ProcessSpec
from operator_engine.errors import HomeInUseError
from operator_engine.launcher import Launcher


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    home = Path(plan["home"])
    specs = [
        ProcessSpec(
            name=spec["name"],
            argv=[sys.executable, "-c", spec["code"]],
            env=spec.get("env", {}),
            is_ready=Path(spec["ready_file"]).exists if "ready_file" in spec else None,
            stop_stage=spec.get("stop_stage", 0),
            is_drained=spec.get("is_drained", False),
            ends_drained=spec.get("is_drained", False),
        )
        for spec in plan["specs"]
    ]
    launcher = Launcher(
        specs,
        home,
        grace_s=plan.get("grace_s", 5.0),
        drain_s=plan.get("drain_s", 0.0),
        on_ready=(home / "all_ready").touch,
    )
    try:
        launcher.run()
    except HomeInUseError as error:
        sys.exit(str(error))
    (home / "hurried").write_text(str(launcher.has_hurried), encoding="utf-8")
    restarts = [[r.name, r.exit_code, r.pause_s] for r in launcher.restarts]
    (home / "restarts.json").write_text(json.dumps(restarts), encoding="utf-8")


if __name__ == "__main__":
    main()
