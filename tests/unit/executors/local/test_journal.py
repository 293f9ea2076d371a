import errno
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from executors.local import journal as journal_module
from executors.local.book import AttemptBook
from executors.local.journal import Journal, Line, read_journal
from executors.local.messages import TaskHead


def lines_of(path: Path) -> list[tuple[str, str]]:
    return [(line.k, line.id) for line in read_journal(str(path))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "local.journal"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(str(path), lambda: [Line(k="accepted", id="kept")])
    journal.compact()
    yield journal
    journal.close()


def test_lines_come_back_in_order(journal: Journal, path: Path) -> None:
    journal.add(Line(k="started", id="r.1.1", at=2.5))
    journal.add(Line(k="ended", id="r.1.1", outcome=msgspec.Raw(b'{"state":"succeeded"}')))
    assert journal.flush()
    lines = list(read_journal(str(path)))
    assert [(line.k, line.id) for line in lines] == [
        ("accepted", "kept"),
        ("started", "r.1.1"),
        ("ended", "r.1.1"),
    ]
    assert lines[1].at == 2.5
    assert bytes(lines[2].outcome) == b'{"state":"succeeded"}'


def test_torn_last_line_is_left_out(journal: Journal, path: Path) -> None:
    journal.add(Line(k="started", id="r.1.1"))
    journal.flush()
    with path.open("ab") as file:
        file.write(b'{"k":"ended","id":"r.1.1","outc')
    assert lines_of(path) == [("accepted", "kept"), ("started", "r.1.1")]


def test_journal_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "none") == []


def test_lines_that_a_full_disk_refused_are_written_later(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal.add(Line(k="started", id="r.1.1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        assert not journal.flush()
    journal.add(Line(k="started", id="r.2.1"))
    assert journal.flush()
    assert lines_of(path)[1:] == [("started", "r.1.1"), ("started", "r.2.1")]


def test_line_that_was_written_in_part_is_completed(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    journal.add(Line(k="started", id="r.1.1"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:5]))
        assert not journal.flush()
    assert journal.flush()
    assert lines_of(path)[1:] == [("started", "r.1.1")]


def test_journal_that_has_grown_is_rewritten_as_the_present_state(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_COMPACT_AT_BYTES", 1000)
    journal = Journal(str(path), lambda: [Line(k="accepted", id="kept")])
    journal.compact()
    for index in range(40):
        journal.add(Line(k="started", id=f"r.{index}.1"))
        journal.flush()
    assert path.stat().st_size < 1100
    assert lines_of(path)[0] == ("accepted", "kept")
    journal.close()


def test_book_comes_back_as_it_was_after_compaction(path: Path) -> None:
    book = AttemptBook(str(path))
    book.load()
    for index in (1, 2):
        attempt = book.accept(TaskHead(attempt_id=f"r.{index}.1"), b"{}")
        assert attempt is not None
        book.end_as_told(attempt, b'{"attempt_id":"r.%d.1","kind":"ended"}' % index)
    book.release(["r.2.1"])
    book.leave_tombstone("r.3.1")
    book.journal.compact()
    book.journal.close()

    again = AttemptBook(str(path))
    assert again.load() == []
    assert {key: attempt.outcome for key, attempt in again.attempts.items()} == {
        "r.1.1": b'{"attempt_id":"r.1.1","kind":"ended"}'
    }
    assert again.accept(TaskHead(attempt_id="r.2.1"), b"{}") is None
    assert again.accept(TaskHead(attempt_id="r.3.1"), b"{}") is None
    assert b"cancelled" in again.attempts["r.3.1"].outcome
    again.journal.close()


def test_book_remembers_only_so_many_tombstones(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executors.local.book._N_REMEMBERED", 3)
    book = AttemptBook(str(path))
    book.load()
    for index in range(5):
        book.leave_tombstone(f"r.{index}.1")
    accepted = [book.accept(TaskHead(attempt_id=f"r.{index}.1"), b"{}") for index in range(5)]
    assert [attempt is not None for attempt in accepted] == [True, True, False, False, False]
    book.journal.close()
