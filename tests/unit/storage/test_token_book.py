import datetime as dt
import hashlib
import hmac
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dag_engine.core.access import LOCAL_ADMIN, Caller, Role
from dag_engine.storage import token_book
from dag_engine.storage.errors import DatabaseUnavailableError
from dag_engine.storage.token_book import TokenBook
from tests.support.tokens import make_tokens

PAST = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def make_book(tokens: Any, *, is_required: bool = True) -> TokenBook:
    return TokenBook(lambda _: tokens, is_required=is_required)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the time after which tokens are read anew be over."""
    now = [1e9]
    monkeypatch.setattr(token_book.time, "monotonic", lambda: now[0])

    def pass_time() -> None:
        now[0] += token_book.KEPT_S

    return pass_time


def test_caller_is_what_the_token_carries() -> None:
    book = make_book(make_tokens("t", role="operator", namespace="team-b"))

    assert book.find("Bearer t") == Caller("t", Role.OPERATOR, "team-b", "id of t")
    assert book.find("bearer  t ") == book.find("Bearer t")


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer x", "Basic t", "t", "Bearer t t"]
)
def test_anything_else_is_a_stranger(header: str) -> None:
    assert make_book(make_tokens("t")).find(header) is None


@pytest.mark.parametrize(
    "changes", [{"role": "root"}, {"role": "anybody"}, {"namespace": "system"}]
)
def test_token_that_this_program_does_not_understand_lets_nobody_in(changes: Any) -> None:
    book = make_book(make_tokens("t", **changes), is_required=False)

    assert book.find("Bearer t") is None
    assert book.find("") is None


def test_without_tokens_who_calls_is_the_local_admin_where_none_is_required() -> None:
    assert make_book({}, is_required=False).find("") == LOCAL_ADMIN
    assert make_book({}).find("") is None


def test_time_alone_opens_nothing() -> None:
    book = make_book(make_tokens("t", expires_at=PAST), is_required=False)

    assert book.find("Bearer t") is None
    assert book.find("") is None


def test_expiry_is_noticed_at_its_moment_without_reading_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    book = make_book(make_tokens("t", expires_at=soon))
    caller = book.find("Bearer t")
    assert caller is not None
    assert book.is_good(caller)

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return soon

    monkeypatch.setattr(token_book.dt, "datetime", Clock)

    assert book.find("Bearer t") is None
    assert not book.is_good(caller)


def test_a_clock_that_jumps_and_is_mended_costs_nobody_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = dt.datetime.now(dt.UTC)
    moment = [start]
    book = make_book(make_tokens("t", expires_at=start + dt.timedelta(minutes=30)))

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return moment[0]

    monkeypatch.setattr(token_book.dt, "datetime", Clock)
    for hours, is_good in ((0, True), (1, False), (0, True), (-1, True), (1, False)):
        moment[0] = start + dt.timedelta(hours=hours)
        assert (book.find("Bearer t") is not None) == is_good, hours


def test_revoked_token_is_forgotten_after_two_seconds(later: Callable[[], None]) -> None:
    tokens = make_tokens("t", "other")
    book = TokenBook(lambda _: dict(tokens), is_required=True)
    caller = book.find("Bearer t")
    assert caller is not None
    del tokens[next(iter(tokens))]

    assert book.find("Bearer t") == caller, "until then no query is made"
    later()

    assert book.find("Bearer t") is None
    assert not book.is_good(caller)


def test_known_tokens_hold_while_the_database_is_away(later: Callable[[], None]) -> None:
    loaded = [make_tokens("t")]
    n_asked = 0

    def load(deadline_s: float) -> Any:
        nonlocal n_asked
        n_asked += 1
        if not loaded:
            raise DatabaseUnavailableError("gone")
        return loaded.pop()

    book = TokenBook(load, is_required=True)
    caller = book.find("Bearer t")
    later()

    assert caller is not None
    assert book.find("Bearer t") == caller
    assert book.is_good(caller)
    assert book.find("Bearer x") is None
    assert n_asked == 2, "a database that is away is asked no more often than one that is there"


def test_tokens_that_were_never_read_let_nobody_in() -> None:
    def load(deadline_s: float) -> Any:
        raise DatabaseUnavailableError("gone")

    book = TokenBook(load, is_required=False)
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            book.find("Bearer t")


def test_local_admin_is_one_no_longer_once_there_is_a_token(later: Callable[[], None]) -> None:
    tokens: Any = {}
    book = TokenBook(lambda _: dict(tokens), is_required=False)
    assert book.is_good(LOCAL_ADMIN)

    tokens.update(make_tokens("t"))
    later()

    assert not book.is_good(LOCAL_ADMIN)


def test_a_stranger_costs_the_same_work_as_a_friend(monkeypatch: pytest.MonkeyPatch) -> None:
    """No difference in time tells how far a token was right: each makes the same few steps."""
    done: list[str] = []

    class Sha:
        @staticmethod
        def sha256(data: bytes) -> Any:
            done.append("digest")
            return hashlib.sha256(data)

    class Compare:
        @staticmethod
        def compare_digest(left: str, right: str) -> bool:
            done.append(f"compare {len(left)} {len(right)}")
            return hmac.compare_digest(left, right)

    tokens = make_tokens("good", "other") | make_tokens("expired", expires_at=PAST)
    book = make_book(tokens)
    monkeypatch.setattr(token_book, "hashlib", Sha)
    monkeypatch.setattr(token_book, "hmac", Compare)
    for header in ("Bearer good", "Bearer bad", "Bearer expired", "Basic good", "", "Bearer gooe"):
        done.clear()
        book.find(header)
        assert done == ["digest", "compare 64 64"], header


def test_while_one_reads_anew_the_others_go_on_with_what_is_known(
    later: Callable[[], None],
) -> None:
    """Of many requests in an outage only one waits for the database before its own work does."""
    is_reading, may_go_on = threading.Event(), threading.Event()
    deadlines: list[float] = []
    tokens = make_tokens("t")

    def load(deadline_s: float) -> Any:
        deadlines.append(deadline_s)
        if len(deadlines) > 1:
            is_reading.set()
            assert may_go_on.wait(10)
        return tokens

    book = TokenBook(load, is_required=True)
    book.find("Bearer t")
    later()
    reader = threading.Thread(target=book.find, args=("Bearer t",))
    reader.start()
    assert is_reading.wait(10)

    assert book.find("Bearer t") is not None
    assert len(deadlines) == 2
    may_go_on.set()
    reader.join()
    assert deadlines == [token_book.FIRST_DEADLINE_S, token_book.AGAIN_DEADLINE_S]
