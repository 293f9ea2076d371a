"""Secrets are taken out of text in every form in which a program is likely to write them."""

from __future__ import annotations

import base64
import io
import json
import logging
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.base import DatasetRef
from executors.masking import (
    MASK,
    Masker,
    hide_connection,
    hide_settings,
    hide_url_passwords,
    list_connection_secrets,
    list_task_secrets,
    mask_logging,
)
from tests.support.engine_rig import make_task

SECRET = 'p@ss wörd/"x\\'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        "p%40ss%20w%c3%b6rd%2f%22x%5c",
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET),
        SECRET.encode().hex(),
    ],
)
def test_every_form_of_a_secret_is_masked(form: str) -> None:
    masked = Masker([SECRET]).mask(f"before {form} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "p@ss" not in masked
    assert "rd/" not in masked
    assert MASK in masked


@pytest.mark.parametrize("before", ["", "u:", "us:", "use:", "user:"])
@pytest.mark.parametrize("after", ["", "\n", "@h", "xyz"])
def test_base64_is_masked_wherever_the_secret_stands_in_it(before: str, after: str) -> None:
    value = "Kanarienvogel-4711"
    encoded = base64.b64encode(f"{before}{value}{after}".encode()).decode()
    masked = Masker([value]).mask(f"Authorization: Basic {encoded}")
    assert MASK in masked
    inner = base64.b64encode(value.encode()).decode()[2:-4]
    assert inner not in masked
    # at most the letters at both ends, which also belong to what stands beside it
    assert len(masked) <= len(f"Authorization: Basic {before}{after}***") + 12


def test_single_lines_of_a_long_secret_are_masked_and_short_ones_are_not() -> None:
    masker = Masker(["-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nab\n-----END KEY-----\n"])
    assert masker.mask("line: MIIEvQIBADANBgkq ab") == f"line: {MASK} ab"


def test_a_value_too_short_to_tell_from_other_text_is_left_alone() -> None:
    masker = Masker(["abc", ""])
    assert not masker
    assert masker.mask("abc") == "abc"


def test_the_longer_of_two_secrets_is_masked_whole() -> None:
    assert Masker(["pass", "password1"]).mask("password1 pass") == f"{MASK} {MASK}"


def test_plain_data_is_masked_with_its_keys_and_numbers_are_left_alone() -> None:
    masker = Masker(["geheim1"])
    given = {"geheim1": ["x geheim1", 1, None, True], "b": {"c": "geheim1"}, "t": ("geheim1",)}
    assert masker.mask_plain(given) == {
        MASK: [f"x {MASK}", 1, None, True],
        "b": {"c": MASK},
        "t": [MASK],
    }


def feed(masker: Masker, pieces: list[bytes]) -> bytes:
    stream = masker.open_stream()
    return b"".join(map(stream.feed, pieces)) + stream.finish()


def test_a_secret_in_two_halves_is_masked() -> None:
    masker = Masker(["canary-4711"])
    assert feed(masker, [b"a canary", b"-4711 b"]) == b"a *** b"
    assert feed(masker, [bytes([byte]) for byte in b"a canary-4711 b"]) == b"a *** b"


def test_a_match_at_the_edge_of_what_waits_is_masked_whole() -> None:
    # the end of the first secret could be the beginning of the second
    assert feed(Masker(["abcd", "cdzz"]), [b"xxabcd", b"yy"]) == b"xx***yy"


def test_text_without_a_beginning_of_a_secret_does_not_wait() -> None:
    stream = Masker(["canary-4711"]).open_stream()
    assert stream.feed(b"progress 10 %\n") == b"progress 10 %\n"
    assert stream.feed(b"a can") == b"a "
    assert stream.feed(b"dle\n") == b"candle\n"


@given(
    secrets=st.lists(st.text("abc", min_size=4, max_size=8), min_size=1, max_size=3),
    text=st.text("abc x", max_size=60),
    size=st.integers(1, 9),
)
def test_no_cut_of_the_text_lets_a_secret_through(secrets: list[str], text: str, size: int) -> None:
    masker = Masker(secrets)
    data = text.encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    masked = feed(masker, pieces)
    assert masked == masker.mask(text).encode()
    assert not any(secret.encode() in masked for secret in secrets)


def test_of_a_connection_all_is_secret_that_is_not_known_to_be_harmless() -> None:
    url = "mysql+pymysql://root:p%40ss@db.example/bank?ssl_key=x&auth_token=t0k3n99"
    found = list_connection_secrets({"url": url})
    assert {url, "p%40ss", "p@ss", "t0k3n99"} <= set(found)
    parts = {"drivername": "mysql", "host": "db", "username": "root", "password": "geheim"}
    assert list_connection_secrets({**parts, "query": {"key": "k1"}}) == ["geheim", "k1"]


def test_what_is_shown_of_a_connection_holds_no_secret() -> None:
    shown = hide_connection({"url": "mysql://u:p@h/d?key=x", "password": "y", "host": "h"})
    assert shown == {"url": "mysql://u:***@h/d", "password": "***", "host": "h"}


def test_settings_are_hidden_by_name_and_by_url() -> None:
    given = {"key": "a", "api-key": "b", "passwd": "c", "path": "s3://k:s@b/x", "n": 3, "l": ["x"]}
    hidden = hide_settings({"options": given})["options"]
    assert hidden == {
        "key": MASK, "api-key": MASK, "passwd": MASK, "path": "s3://k:***@b/x", "n": 3, "l": ["x"],
    }  # fmt: skip
    assert hide_url_passwords("at http://h:80/a@b and x") == "at http://h:80/a@b and x"


@pytest.mark.parametrize("password", ["ge/heim", "ge?heim", "ge#heim", "g@heim", "1234/heim"])
def test_a_password_is_hidden_whatever_sign_is_in_it(password: str) -> None:
    url = f"mysql+pymysql://root:{password}@db.example/bank?x=1"
    assert hide_connection({"url": url}) == {"url": "mysql+pymysql://root:***@db.example/bank"}
    if not password.startswith("1"):  # which could be a port
        hidden = "at 'mysql+pymysql://root:***@db.example/bank?x=1' it is"
        assert hide_url_passwords(f"at '{url}' it is") == hidden
    if "@" not in password:
        assert password in list_connection_secrets({"url": url})


def test_a_text_without_a_password_is_left_alone_and_takes_no_time() -> None:
    for text in ("http://[::1]:80/a@b", "hdfs://n:8020/a@b", "file:///a:b@c", "at a:b@c"):
        assert hide_url_passwords(text) == text
    assert hide_url_passwords("a://b:" * 100_000) == "a://b:" * 100_000


def test_a_secret_that_is_a_number_or_in_a_list_is_masked_too() -> None:
    given = {"password": 47110815, "timeout": 3600, "hosts": ["db-1", "db-2"], "key": [12345, True]}
    assert list_connection_secrets(given) == ["47110815", "db-1", "db-2", "12345"]
    assert hide_settings(given) == {
        "password": MASK, "timeout": 3600, "hosts": ["db-1", "db-2"], "key": [MASK, True],
    }  # fmt: skip


def test_secrets_of_a_dataset_are_found_in_its_query_and_its_options() -> None:
    uri = "https://h/x.csv?token=t0k3n99&sig=s1gn4ture&X-Amz-Signature=4mz0n&page=2000"
    options = {"headers": [{"api_key": "4p1k3y"}], "token": 471108}
    dataset = DatasetRef(id="d", version=1, uri=uri, options=options)
    task = make_task(datasets={"d": dataset})
    assert list_task_secrets(task) == ["t0k3n99", "s1gn4ture", "4mz0n", "4p1k3y", "471108"]


def fail() -> None:
    raise ValueError("bad canary-4711 at mysql://u:other@h/d")


def test_no_handler_logs_a_secret_not_even_in_a_traceback() -> None:
    logger = logging.getLogger(__name__)
    stream = io.StringIO()
    logger.addHandler(handler := logging.StreamHandler(stream))
    mask_logging(["canary-4711"], logger)
    try:
        fail()
    except ValueError:
        logger.exception("failed value=%s", "canary-4711")
    finally:
        logger.removeHandler(handler)
    assert "canary-4711" not in stream.getvalue()
    assert ":other@" not in stream.getvalue()
    assert "ValueError: bad ***" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/x.csv?token=geheim", "https://h/x.csv?token=***"),
        ("of 'https://h/x?a=1&sig=ge%2Fheim&b=2'.", "of 'https://h/x?a=1&sig=***&b=2'."),
        ("https://h/x?X-Amz-Signature=ab#part", "https://h/x?X-Amz-Signature=***#part"),
        ("GET /runs?limit=5&cursor=abc", "GET /runs?limit=5&cursor=abc"),
        ("is token=abc good?", "is token=abc good?"),
    ],
)
def test_secrets_in_the_query_of_a_url_are_hidden(text: str, shown: str) -> None:
    assert hide_url_passwords(text) == shown
    assert hide_url_passwords("?a=b&" * 100_000) == "?a=b&" * 100_000
