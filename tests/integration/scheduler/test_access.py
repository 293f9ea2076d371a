"""Who may call the scheduler's own port, and whose tasks its engines run.

Bears S40: no token but that of the attempt itself makes a report count.
"""

import msgspec
import pytest

from dag_engine.core.access import Role
from dag_engine.scheduler.tokens import AttemptTokens
from dag_engine.storage import runs
from dag_engine.storage.database import Database
from dag_engine.storage.token_book import TokenBook
from executors.base import Report
from executors.transport.http_client import HttpClient
from tests.support.live_runs import ended
from tests.support.scheduler_rig import SECRET, SchedulerRig, StartEngine, StartScheduler
from tests.support.tokens import make_tokens
from tests.support.waiting import wait_until

ROUTES = {
    "POST /internal/v1/operator-engines": Role.OPERATOR,
    "POST /internal/v1/operator-engines/e1/heartbeat": Role.OPERATOR,
    "DELETE /internal/v1/operator-engines/e1": Role.OPERATOR,
    "POST /internal/v1/hints": None,
    "GET /status": None,
}
"""The role that each asks for; None is for the installation's own processes."""
TOKENS = {
    token: record
    for role in ("viewer", "submitter", "operator", "admin")
    for token, record in make_tokens(role, role=role).items()
}


@pytest.fixture
def closed(start_scheduler: StartScheduler) -> SchedulerRig:
    """A scheduler that knows a token of each role."""
    return start_scheduler(find_caller=TokenBook(lambda _: TOKENS, is_required=True).find)


@pytest.mark.parametrize("route", ROUTES)
def test_own_port_asks_for_the_same_roles_as_the_api(closed: SchedulerRig, route: str) -> None:
    method, path = route.split()
    needed = ROUTES[route]

    def ask(**options: object) -> int:
        client = HttpClient(closed.url, **options)
        try:
            return client.request(method, path, b"not json").status
        finally:
            client.close()

    for token in ("", "garbage", AttemptTokens(SECRET).make("r1.0.1")):
        assert ask(token=token) == 401
    for word in ("viewer", "submitter", "operator", "admin"):
        if needed is None:
            assert ask(token=word) == 401
        elif Role[word.upper()] < needed:
            assert ask(token=word) == 403
        else:
            assert ask(token=word) not in (401, 403)
    for shown in ({"token": SECRET}, {"headers": {"x-dagengine-secret": SECRET}}):
        assert ask(**shown) not in (401, 403)
    assert ask(headers={"Authorization": f"Basic {SECRET}"}) == 401


def test_installation_without_a_secret_trusts_no_empty_one(
    database: Database, start_scheduler: StartScheduler
) -> None:
    rig = start_scheduler()
    rig._server._secret = ""
    client = HttpClient(rig.url, headers={"x-dagengine-secret": ""})

    assert client.request("GET", "/status").status == 401
    client.close()


def test_no_other_token_makes_a_report_count(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id, other_id = rig.accept("a", "b"), rig.accept("a")
    mine, sibling, other = f"{run_id}.0.1", f"{run_id}.1.1", f"{other_id}.0.1"
    items = {item.task.attempt_id: item for item in engine.wait_for(mine, sibling, other)}
    wrong = {
        "none": "",
        "that of a sibling": items[sibling].token,
        "that of another run": items[other].token,
        "that of the next attempt": AttemptTokens(SECRET).make(f"{run_id}.0.2"),
        "an API token": "admin",
        "the installation's secret": SECRET,
        "its own, cut": items[mine].token[:-1],
        "letters of another kind": "é" * 64,
    }
    before = (rig.run(run_id), rig.task_states(run_id))

    reports = [Report(outcome=ended(mine), token=token) for token in wrong.values()]
    verdicts = engine.report_with_tokens(reports)

    assert dict(zip(wrong, [one.verdict for one in verdicts], strict=True)) == dict.fromkeys(
        wrong, "refused"
    )
    assert (rig.run(run_id), rig.task_states(run_id)) == before
    assert [one.verdict for one in engine.report(ended(mine))] == ["applied"]


def test_report_without_the_place_of_a_token_is_refused_whole(
    start_scheduler: StartScheduler, start_engine: StartEngine
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    run_id = rig.accept("a")
    engine.wait_for(f"{run_id}.0.1")
    body = msgspec.json.encode({"reports": [{"outcome": ended(f"{run_id}.0.1")}]})

    reply = engine.client.request("POST", "/internal/v1/reports", body)

    assert reply.status == 422
    assert rig.task_states(run_id)["a"] in ("queued", "running", "pending")


def test_namespaces_share_the_engines_and_keep_their_runs_apart(
    start_scheduler: StartScheduler, start_engine: StartEngine, database: Database
) -> None:
    rig = start_scheduler()
    engine = start_engine(rig)
    names = ("team-a", "team-b", "default")
    ids = {name: rig.accept("a", "b<a", namespace=name) for name in names}
    for place in (0, 1):
        wanted = [f"{run_id}.{place}.1" for run_id in ids.values()]
        engine.wait_for(*wanted)
        engine.report(*map(ended, wanted))

    for name, run_id in ids.items():
        wait_until(
            lambda n=name, r=run_id: runs.get_run(database, n, r).state == "succeeded", 10, name
        )
        assert [run.id for run in runs.list_runs(database, name).items] == [run_id]
