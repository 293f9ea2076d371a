from __future__ import annotations

import pytest

from executors.transport.http_client import HttpReply
from operator_engine.registrar import complete_reports_url, read_sentence
from operator_engine.settings import EngineSettings

SETTINGS = EngineSettings(engine_id="e", home="/h", dag_engine_url="http://api:8080/")


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
    assert complete_reports_url(given, SETTINGS) == used


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
