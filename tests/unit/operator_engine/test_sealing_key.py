from __future__ import annotations

import stat
from pathlib import Path

import pytest

from executors.errors import SealError
from executors.sealing import public_key_of
from operator_engine.sealing_key import ensure_sealing_key, read_private_key, read_public_key


def test_the_pair_is_private_fits_together_and_is_kept(tmp_path: Path) -> None:
    ensure_sealing_key(tmp_path)
    private = read_private_key(tmp_path)
    assert public_key_of(private) == read_public_key(tmp_path)
    assert stat.S_IMODE((tmp_path / "sealing.key").stat().st_mode) == 0o600
    ensure_sealing_key(tmp_path)
    assert read_private_key(tmp_path) == private


@pytest.mark.parametrize("spoil", ["mode", "content", "half"])
def test_one_that_others_could_read_or_that_is_damaged_is_replaced(
    tmp_path: Path, spoil: str
) -> None:
    ensure_sealing_key(tmp_path)
    path = tmp_path / "sealing.key"
    private = read_private_key(tmp_path)
    if spoil == "mode":
        path.chmod(0o644)
    else:
        path.write_bytes(b"\xff" if spoil == "content" else private.encode())
    with pytest.raises(SealError, match=r"sealing\.key"):
        read_private_key(tmp_path)
    assert read_public_key(tmp_path) == ""
    ensure_sealing_key(tmp_path)
    assert read_private_key(tmp_path) != private
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
