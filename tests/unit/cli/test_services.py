"""What a service does before its processes start, and what it says while they run."""

from __future__ import annotations

import json
import socket
import stat
import threading
from pathlib import Path

import pytest

from dag_engine.cli import services
from dag_engine.cli.config_loading import load_config
from dag_engine.cli.errors import ServiceError, UsageError
from dag_engine.cli.flags import collect_flags, collect_labels
from dag_engine.cli.home import prepare_home
from dag_engine.cli.news import LogNews, describe_death, parse_event
from dag_engine.cli.readiness import wait_for_ready, wait_for_registered
from dag_engine.config import Config
from tests.support.at_once import run_at_once
from tests.support.canned_api import run_canned_api


def make_config(tmp_path: Path, **environment: str) -> Config:
    return load_config(None, collect_flags(home=str(tmp_path / "home")), environment)


def test_first_start_makes_a_private_home_and_later_ones_keep_it(tmp_path: Path) -> None:
    first = prepare_home(tmp_path / "home")
    second = prepare_home(tmp_path / "home")
    assert first == second
    assert len(bytes.fromhex(first.secret)) == 32
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "home" / "secret").stat().st_mode) == 0o600


def test_two_first_starts_at_once_agree_on_the_secret(tmp_path: Path) -> None:
    found = run_at_once(8, lambda _: prepare_home(tmp_path / "home").secret)
    assert len(set(found)) == 1


def test_home_that_is_a_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(ServiceError, match=r"cannot be used.*\n.*--home"):
        prepare_home(tmp_path / "home")


def test_port_that_is_taken_is_told_with_the_cure() -> None:
    with services.bind_api("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"port {port}: Address already in use.\n.*--port"):
            services.bind_api("127.0.0.1", port)


def test_bound_socket_lets_early_clients_wait() -> None:
    with services.bind_api("127.0.0.1", 0) as sock:
        client = socket.create_connection(sock.getsockname(), timeout=1)
        client.close()


def test_service_for_others_is_refused_without_tokens(tmp_path: Path) -> None:
    config = make_config(tmp_path, DAGENGINE__SERVER__HOST="0.0.0.0", DAGENGINE__SERVER__PORT="0")
    with pytest.raises(ServiceError, match=r"there are no tokens.\n.*dagengine tokens add"):
        services.make_dag_engine(config, has_engine=True)


def test_engine_gets_twice_the_cores_and_the_labels_of_the_local_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2})
    config = make_config(tmp_path)
    home = prepare_home(config.home)
    settings = services.make_engine_settings(config, home, "http://127.0.0.1:1")
    assert settings.slots == 6
    assert settings.executors[0].slots == 6
    assert settings.executors[0].data_types == ["本地python", "本機python", "local"]
    assert settings.token == home.secret


def test_separate_engine_asks_the_dag_engine_for_its_store_and_keeps_its_own_token(
    tmp_path: Path,
) -> None:
    flags = collect_flags(home=str(tmp_path), dag_engine_url="http://x:1", token="t", slots=3)
    config = load_config(None, flags | collect_labels(("zone=a", "k8s.io/gpu=b=c")), {})
    settings = services.make_engine_settings(config, prepare_home(tmp_path), "http://x:1")
    assert settings.store_url == ""
    assert settings.token == "t"
    assert (settings.slots, settings.executors[0].slots) == (3, 3)
    assert settings.labels == {"zone": "a", "k8s.io/gpu": "b=c"}


def test_separate_engine_with_a_wildcard_address_must_say_where_it_is_reached(
    tmp_path: Path,
) -> None:
    flags = collect_flags(home=str(tmp_path), dag_engine_url="http://x:1", engine_host="0.0.0.0")
    with pytest.raises(UsageError, match="--advertise-url"):
        services.make_operator_engine(load_config(None, flags, {}))


def test_label_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="zone=a"):
        collect_labels(("zone",))


def test_api_address_is_written_for_tools(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    services.write_address(tmp_path, "http://127.0.0.1:5")
    assert json.loads((tmp_path / "run" / "api.json").read_text())["url"] == "http://127.0.0.1:5"


def test_ready_means_that_the_operator_engine_has_registered_too(tmp_path: Path) -> None:
    address = tmp_path / "engine.json"
    with run_canned_api() as api, run_canned_api() as engine:
        address.write_text(json.dumps({"url": engine.url}), encoding="utf-8")
        api.put("GET /readyz", {}, status=503)
        api.answers["GET /readyz"].append((200, {}))
        # what the API has of the engine is a former life of it
        api.put("GET /healthz", {"components": [{"kind": "operator_engine", "status": "ok"}]})
        unready, ready = {"is_registered": False}, {"is_registered": True}
        engine.put("GET /healthz", unready, unready, unready, ready)
        assert wait_for_ready(api.url, threading.Event(), engine=address)
        assert len(engine.find("GET /healthz")) == 4


def test_operator_engine_that_is_refused_says_why_and_waits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = tmp_path / "engine.json"
    refused = {"is_registered": False, "refusal": "refused with 409: its marker file differs."}
    with run_canned_api() as engine:
        address.write_text(json.dumps({"url": engine.url}), encoding="utf-8")
        engine.put("GET /healthz", refused, refused, {"is_registered": True})
        assert wait_for_registered(address, threading.Event())
    assert capsys.readouterr().err.count("its marker file differs.") == 1


def test_start_is_refused_where_an_engine_cannot_offer_its_algorithms(tmp_path: Path) -> None:
    address = tmp_path / "engine.json"
    problem = "Two algorithms are named 'ok': one in /a.py, one in /b.py."
    with run_canned_api() as api, run_canned_api() as engine:
        address.write_text(json.dumps({"url": engine.url}), encoding="utf-8")
        api.put("GET /readyz", {})
        api.put("GET /healthz", {"components": []})
        engine.put("GET /healthz", {"is_registered": False, "catalogue_problem": problem})
        with pytest.raises(ServiceError, match="one in /b"):
            wait_for_ready(api.url, threading.Event(), engine=address)
        with pytest.raises(ServiceError, match="one in /b"):
            wait_for_registered(address, threading.Event())


def test_news_are_warnings_and_errors_that_came_since_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "api.log"
    log.write_text("2026 ERROR old\n", encoding="utf-8")
    is_ready = threading.Event()
    is_ready.set()
    news = LogNews(tmp_path, ["api", "monitor"], is_ready)
    with log.open("a", encoding="utf-8") as file:
        file.write("2026 INFO x fine\n2026 WARNING x 警告\n2026 ERROR half")
    news.look()
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == [
        "api: 2026 WARNING x 警告"
    ]
    with log.open("a", encoding="utf-8") as file:
        file.write(" a line\n")
    news.look()
    assert "2026 ERROR half a line" in capsys.readouterr().err


def test_warnings_of_services_that_wait_for_each_other_are_no_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news = LogNews(tmp_path, ["api"], threading.Event())
    text = "2026-01-01 10:00:00,5 WARNING x waiting\n2026-01-01 10:00:00,5 ERROR x broken\n"
    (tmp_path / "api.log").write_text(text)
    news.look()
    assert [line[9:] for line in capsys.readouterr().err.splitlines()] == ["api: ERROR x broken"]


def test_death_is_told_by_its_name_with_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("Traceback\nKeyError: 'x'\n")
    event, facts = parse_event(
        f"process_died name=api pid=7 exit_code=1 restart_in_s=0.25 log={log}"
    )
    assert event == "process_died"
    assert describe_death(facts) == (
        "api (process 7) ended by itself with exit code 1; it is started again in 0.25 s: "
        "KeyError: 'x'"
    )
    killed = describe_death(facts | {"exit_code": "-9", "restart_in_s": "0.00", "log": ""})
    assert killed == "api (process 7) was killed by SIGKILL; it is started again now"
