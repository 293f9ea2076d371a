import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from executors import log_reading
from executors.log_reading import cut_tail, read_chunk


@pytest.mark.parametrize(
    ("data", "n_cut"),
    [
        (b"", 0),
        (b"abc", 0),
        ("数".encode(), 0),
        ("数".encode()[:1], 1),
        ("数".encode()[:2], 2),
        ("a😀".encode()[:-1], 3),
        ("a😀".encode()[:-3], 1),
        ("é".encode()[:1], 1),
        (b"\x80\x80\x80\x80", 0),
        (b"ok\xff", 1),
    ],
)
def test_unfinished_character_at_the_end_is_found(data: bytes, n_cut: int) -> None:
    assert cut_tail(data) == n_cut


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "1.1.log"


def test_piece_ends_before_a_character_that_the_limit_cuts(log: Path) -> None:
    log.write_bytes("ab数据".encode())
    chunk = read_chunk(str(log), 0, 6)
    assert (chunk.text, chunk.next_offset, chunk.is_complete) == ("ab数", 5, False)
    rest = read_chunk(str(log), 5, 6)
    assert (rest.text, rest.next_offset, rest.is_complete) == ("据", 8, True)


def test_character_that_is_still_being_written_is_left_for_later(log: Path) -> None:
    log.write_bytes("ab数".encode()[:-1])
    chunk = read_chunk(str(log), 0, 100, is_over=False)
    assert (chunk.text, chunk.next_offset, chunk.is_complete) == ("ab", 2, False)
    over = read_chunk(str(log), 0, 100)
    assert (over.text, over.is_complete) == ("ab\ufffd", True)


def test_broken_bytes_are_shown_and_never_stop_the_reader(log: Path) -> None:
    log.write_bytes(b"a\xff\xfe" + b"\x80" * 10 + b"z")
    text, offset = "", 0
    for _ in range(20):
        chunk = read_chunk(str(log), offset, 1)
        text += chunk.text
        offset = chunk.next_offset
        if chunk.is_complete:
            break
    assert chunk.is_complete
    assert text.startswith("a\ufffd")
    assert text.endswith("z")


def test_offset_beyond_the_end_gives_nothing(log: Path) -> None:
    log.write_bytes(b"abc")
    chunk = read_chunk(str(log), 50, 10)
    assert (chunk.text, chunk.size_bytes, chunk.is_complete) == ("", 3, True)


def test_nothing_is_read_beyond_the_given_end(log: Path) -> None:
    log.write_bytes(b"x" * 100)
    assert read_chunk(str(log), 90, 100, end=95, is_over=False).text == "xxxxx"
    assert read_chunk(str(log), 95, 100, end=95, is_over=False).text == ""


def test_what_the_next_attempt_wrote_is_not_read_as_this_ones(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.touch()
    open_by_name = log_reading.open_plain

    def open_and_be_late(path: str) -> int:
        descriptor = open_by_name(path)
        log.rename(log.with_name("2.1.log")).write_text("of the next one")
        return descriptor

    monkeypatch.setattr(log_reading, "open_plain", open_and_be_late)
    with pytest.raises(FileNotFoundError):
        read_chunk(str(log), 0, 100)


def test_no_more_is_read_than_there_was_when_it_was_opened(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.touch()
    open_by_name = log_reading.open_log

    @contextlib.contextmanager
    def open_and_be_late(path: str) -> Iterator[tuple[BinaryIO, int]]:
        with open_by_name(path) as opened:
            log.rename(log.with_name("2.1.log")).write_text("of the next one")
            yield opened

    monkeypatch.setattr(log_reading, "open_log", open_and_be_late)
    assert read_chunk(str(log), 0, 100).text == ""
