"""Long bytes as rows: compressed, and cut so that each piece fits any `max_allowed_packet`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

PIECE_BYTES = 1024 * 1024 - 1024
_LEVEL = 1


def cut(data: bytes) -> list[bytes]:
    """Compress and cut; even nothing makes one piece."""
    packed = memoryview(zlib.compress(data, _LEVEL))
    return [bytes(packed[at : at + PIECE_BYTES]) for at in range(0, len(packed), PIECE_BYTES)]


def join(pieces: Iterable[bytes]) -> bytes:
    """Put the pieces together again."""
    return zlib.decompress(b"".join(pieces))
