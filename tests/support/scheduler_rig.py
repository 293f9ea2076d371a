"""A scheduler with its real store and server in this process, for tests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dag_engine.core.access import LOCAL_ADMIN
from dag_engine.core.plan import Plan, PlannedInput, PlannedTask
from dag_engine.scheduler.http import SECRET_HEADER, SchedulerServer
from dag_engine.scheduler.loop import Scheduler
from dag_engine.scheduler.settings import Surroundings
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage import commands, runs, tasks
from dag_engine.storage.database import Database
from dag_engine.storage.rows import NewRun, RunRecord
from dag_engine.storage.scheduler_store import SchedulerStore
from executors.transport.http_client import HttpClient
from executors.transport.http_server import HttpServer
from tests.support.engine_stand_in import EngineStandIn
from tests.support.waiting import wait_until

SECRET = "installation secret"


class SchedulerRig:
    """One scheduler; several on one database are leader and standbys."""

    def __init__(self, database: Database, home: Path, **changes: Any) -> None:
        self.database = database
        self._http = HttpServer(lambda request: self._server.handle(request), name="scheduler")
        self.url = self._http.url
        lease_s = changes.pop("lease_s", 2.0)
        find_caller = changes.pop("find_caller", lambda _: LOCAL_ADMIN)
        fields: dict[str, Any] = {
            "tokens": AttemptTokens(SECRET),
            "store_url": f"file://{home}/artifacts",
            "store_marker": "marker",
            "reports_url": self.url,
            "heartbeat_s": 0.2,
            "engine_lease_s": 60.0,
            "queue_limits": {},
            **changes,
        }
        store = SchedulerStore(
            database, holder=f"rig:{secrets.token_hex(4)}", url=self.url, lease_s=lease_s
        )
        self.scheduler = Scheduler(store, Surroundings(**fields), lease_s)
        self._server = SchedulerServer(self.scheduler, SECRET, find_caller)
        self._thread = threading.Thread(target=self.scheduler.run, name="scheduler-loop")
        self.client = HttpClient(self.url, headers={SECRET_HEADER: SECRET})

    def start(self) -> SchedulerRig:
        """Start the loop and the server."""
        self._http.start()
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop in an orderly way."""
        self.scheduler.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._http.close()
        self.client.close()
        self.scheduler.store.close()

    def accept(
        self, *operators: str, hint: bool = True, namespace: str = "default", **fields: Any
    ) -> str:
        """Accept a run of operators such as `b<a`, in the order of their indexes; return its id."""
        plan = Plan(tasks=_plan_tasks(operators, fields))
        new = NewRun(namespace=namespace, dag_id="d1", dag_version=1, plan=plan)
        accepted = runs.accept_run(self.database, new)
        if hint:
            self.hint(accepted.run.id)
        return accepted.run.id

    def hint(self, *run_ids: str, has_commands: bool = False) -> None:
        """Tell the scheduler what the api would."""
        ids = ",".join(f'"{run_id}"' for run_id in run_ids)
        body = f'{{"runs":[{ids}],"commands":{str(has_commands).lower()}}}'
        assert self.client.request("POST", "/internal/v1/hints", body.encode()).status == 202

    def command(self, run_id: str, kind: str, operator: str | None = None) -> None:
        """Leave a command as the api would."""
        commands.add_command(self.database, "default", run_id, kind, operator=operator)
        self.hint(has_commands=True)

    def run(self, run_id: str) -> RunRecord:
        """Return the run as it is stored."""
        return runs.get_run(self.database, "default", run_id)

    def wait_state(self, run_id: str, state: str, timeout_s: float = 10) -> RunRecord:
        """Wait until the stored run has a state."""
        wait_until(
            lambda: self.run(run_id).state == state, timeout_s, lambda: str(self.run(run_id))
        )
        return self.run(run_id)

    def task_states(self, run_id: str) -> dict[str, str]:
        """Return the stored states of a run's tasks."""
        page = tasks.list_tasks(self.database, "default", run_id)
        return {task.operator: task.state for task in page.items}

    def wait_task(self, run_id: str, operator: str, state: str, timeout_s: float = 10) -> None:
        """Wait until a stored task has a state."""
        wait_until(
            lambda: self.task_states(run_id)[operator] == state,
            timeout_s,
            lambda: str(self.task_states(run_id)),
        )


def _plan_tasks(operators: tuple[str, ...], fields: dict[str, Any]) -> list[PlannedTask]:
    names = [operator.partition("<")[0] for operator in operators]
    planned = []
    for index, operator in enumerate(operators):
        sources = [names.index(name) for name in operator.partition("<")[2].split(",") if name]
        planned.append(
            PlannedTask(
                index=index,
                operator=names[index],
                algorithm="noop",
                entry="m:f",
                inputs=[[PlannedInput(source=source)] for source in sources],
                upstream=sorted(sources),
                n_outputs=1,
                **fields,
            )
        )
    return planned


StartScheduler = Callable[..., SchedulerRig]
StartEngine = Callable[..., EngineStandIn]
