from collections.abc import Generator

import pytest

from dag_engine.api.errors import UnavailableError
from dag_engine.api.streams import StreamSlots, event, event_answer


def pieces() -> Generator[bytes]:
    yield b"a"
    yield b"b"


def test_no_more_streams_than_places() -> None:
    slots = StreamSlots(1)

    with slots.held(), pytest.raises(UnavailableError), slots.held():
        raise AssertionError("a second place was given")

    with slots.held():
        pass


def test_place_of_a_stream_is_given_back_when_it_is_closed() -> None:
    slots = StreamSlots(1)
    answer = event_answer(pieces(), slots)
    assert answer.mimetype == "text/event-stream"
    with pytest.raises(UnavailableError):
        event_answer(pieces(), slots)

    answer.close()
    answer.close()

    slots.take()
    with pytest.raises(UnavailableError):
        slots.take()


def test_event_bears_number_kind_and_one_line_of_json() -> None:
    assert event({"文": "a\nb"}, kind="task", number=7) == (
        'id: 7\nevent: task\ndata: {"文":"a\\nb"}\n\n'.encode()
    )
