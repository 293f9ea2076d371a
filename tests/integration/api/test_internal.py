from collections.abc import Callable, Iterator

import pytest

from executors.transport.http_server import HttpServer, Request, Response
from tests.support.api_rig import SECRET, ApiRig


class Recorder:
    """Plays the leading scheduler: keeps what comes, answers what it is told."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer = Response(200, b'{"ok":true}')
        self.server = HttpServer(self.take)
        self.server.start()

    def take(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answer


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.server.close()


@pytest.fixture
def led(make_rig: Callable[..., ApiRig], recorder: Recorder) -> ApiRig:
    """An api whose scheduler is the recorder."""
    rig = make_rig()
    rig.scheduler_url = recorder.server.url
    rig.register()
    return rig


def test_engines_learn_where_artifacts_are_kept(rig: ApiRig) -> None:
    found = rig.client.get("/internal/v1/settings").get_json()

    assert found["store_url"] == f"file://{rig.home}/artifacts"
    assert found["store_marker"] == (rig.home / "artifacts/.dagengine-store").read_text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/internal/v1/reports"),
        ("POST", "/internal/v1/operator-engines"),
        ("POST", "/internal/v1/operator-engines/%E7%94%B2-1/heartbeat"),
        ("DELETE", "/internal/v1/operator-engines/%E7%94%B2-1"),
    ],
)
def test_calls_of_engines_reach_the_scheduler_with_the_secret(
    led: ApiRig, recorder: Recorder, method: str, path: str
) -> None:
    body = None if method == "DELETE" else {"name": 1}

    reply = led.client.open(path, method=method, json=body)

    assert (reply.status_code, reply.get_json()) == (200, {"ok": True})
    came = recorder.requests[-1]
    assert (came.method, came.headers["x-dagengine-secret"]) == (method, SECRET)
    assert came.path == path.replace("%E7%94%B2", "甲")
    assert came.body == (b"" if body is None else b'{"name": 1}')


def test_refusal_of_the_scheduler_is_passed_back(led: ApiRig, recorder: Recorder) -> None:
    recorder.answer = Response(
        503, b'{"code":"busy"}', "application/problem+json", {"Retry-After": "1"}
    )

    reply = led.client.post("/internal/v1/reports", json={})

    assert (reply.status_code, reply.get_json()) == (503, {"code": "busy"})
    assert reply.content_type == "application/problem+json"
    assert reply.headers["Retry-After"] == "1"


def test_new_run_is_hinted_at_and_a_command_too(led: ApiRig, recorder: Recorder) -> None:
    run_id = led.start("a")
    led.client.post(f"/api/v1/runs/{run_id}:cancel")

    assert [request.body for request in recorder.requests] == [
        f'{{"runs":["{run_id}"],"commands":false}}'.encode(),
        f'{{"runs":["{run_id}"],"commands":true}}'.encode(),
    ]


def test_without_a_scheduler_runs_are_accepted_and_engines_asked_to_come_again(
    make_rig: Callable[..., ApiRig],
) -> None:
    rig = make_rig()

    reply = rig.client.post("/internal/v1/reports", json={})

    assert (reply.status_code, reply.get_json()["code"]) == (503, "no_scheduler")
    assert reply.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["feed", "hints", "status", "operator-engines/a/b/c"])
def test_other_calls_of_the_scheduler_are_not_offered(led: ApiRig, path: str) -> None:
    assert led.client.get(f"/internal/v1/{path}").status_code in (404, 405)
    assert led.client.post(f"/internal/v1/{path}", json={}).status_code in (404, 405)
