from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from executors.base import Dispatch, RegistrationReply
from executors.transport.http_client import HttpReply
from operator_engine import registrar as registrars
from operator_engine.addresses import complete_reports_url
from operator_engine.desk import Desk
from operator_engine.errors import DispatchRefusedError
from operator_engine.registrar import Registrar, read_sentence
from operator_engine.settings import EngineSettings


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("", "http://api:8080/internal/v1/reports"),
        ("http://leader:9", "http://leader:9/internal/v1/reports"),
        ("http://leader:9/", "http://leader:9/internal/v1/reports"),
        ("http://leader:9/own/path", "http://leader:9/own/path"),
    ],
)
def test_reports_url_is_completed(given: str, used: str) -> None:
    assert complete_reports_url(given, "http://api:8080/") == used


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"title": "Conflict", "detail": "The store is another one."}', "The store is another"),
        (b"<h1>Bad gateway</h1>", "<h1>Bad gateway"),
        (b'{"title": "Conflict"}', "Conflict"),
    ],
)
def test_sentence_of_a_refusal_is_read_from_any_body(body: bytes, said: str) -> None:
    assert said in read_sentence(HttpReply(409, body, {}))


def test_an_engine_that_registers_again_while_it_is_leaving_says_so_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []
    settings = EngineSettings(engine_id="e", home=str(tmp_path), dag_engine_url="http://nowhere")
    registrar = Registrar(settings, Desk("inc", []), "http://engine", list, str)
    monkeypatch.setattr(registrar, "_say_last", lambda beat: said.append(beat.is_leaving))
    reply = RegistrationReply(epoch=1, reports_url="", heartbeat_s=1, lease_s=1)
    registrar._settle(reply)
    assert said == []
    registrar.announce_leaving()
    registrar._settle(reply)
    assert said == [True, True]


def test_a_registration_is_broken_off_when_another_leader_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrars, "_REGISTER_TIMEOUTS_S", (600.0, 600.0))
    desk = Desk("inc", [])
    with socket.create_server(("127.0.0.1", 0)) as stands_still:
        url = f"http://127.0.0.1:{stands_still.getsockname()[1]}"
        settings = EngineSettings(
            engine_id="e", home=str(tmp_path), dag_engine_url=url, gather_s=0.0
        )
        registrar = Registrar(settings, desk, "http://engine", list, str)
        desk.on_new_leader = registrar.begin_anew
        registrar.start()
        try:
            connection, _ = stands_still.accept()
            with connection:
                assert connection.recv(4) == b"POST"
                # Refused, unless the registration has been broken off by then already.
                with contextlib.suppress(DispatchRefusedError):
                    desk.dispatch(Dispatch(epoch=2, incarnation="inc", reports_url="http://next"))
                stands_still.settimeout(20.0)  # the first registration would have waited for 600 s
                again, _ = stands_still.accept()
                again.close()
        finally:
            registrar.stop()
