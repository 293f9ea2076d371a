import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.transport.errors import FrameTooLargeError, PeerClosedError
from executors.transport.frames import FrameDecoder, FrameSocket, connect, encode_frame, listen


@given(st.lists(st.binary(max_size=50)), st.integers(1, 7))
def test_payloads_come_out_whole_however_the_stream_is_cut(
    payloads: list[bytes], step: int
) -> None:
    stream = b"".join(encode_frame(payload) for payload in payloads)
    decoder = FrameDecoder()
    came = [
        payload
        for start in range(0, len(stream), step)
        for payload in decoder.feed(stream[start : start + step])
    ]
    assert came == payloads


def test_a_length_over_the_limit_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(FrameTooLargeError, match="2863311530"):
        FrameDecoder().feed(b"\xaa" * 8)


def test_two_processes_ends_talk_and_see_each_other_go(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listener = listen(path)
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
    client = connect(path)
    accepted, _ = listener.accept()
    server = FrameSocket(accepted)
    client.send(b"one")
    client.send(b"x" * 1_000_00)
    assert server.receive() == b"one"
    assert server.receive(1.0) == b"x" * 1_000_00
    assert server.receive(0.01) is None
    client.close()
    with pytest.raises(PeerClosedError):
        server.receive()
    server.close()
    listener.close()


def test_closing_wakes_a_waiting_receiver() -> None:
    left, right = socket.socketpair()
    waiting = FrameSocket(left)
    ended = threading.Event()

    def wait() -> None:
        with pytest.raises(PeerClosedError):
            waiting.receive()
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.close()
    assert ended.wait(5)
    thread.join()
    right.close()


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    listen(path).close()
    with pytest.raises(PeerClosedError):
        connect(path)
    listener = listen(path)
    connect(path).close()
    listener.close()


def test_a_path_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    listener = listen(str(folder / "socket"))
    connect(str(folder / "socket")).close()
    listener.close()
