"""Long bytes in pieces."""

from __future__ import annotations

import random

import pytest

from dag_engine.storage import chunks


@pytest.mark.parametrize("size", [0, 1, chunks.PIECE_BYTES, 3 * chunks.PIECE_BYTES + 1])
def test_what_is_cut_is_joined_again(size: int) -> None:
    data = random.Random(7).randbytes(size)
    pieces = chunks.cut(data)
    assert chunks.join(pieces) == data
    assert all(0 < len(piece) < 1024 * 1024 for piece in pieces)


def test_text_that_repeats_takes_one_piece() -> None:
    assert len(chunks.cut("params: 参数\n".encode() * 500_000)) == 1
