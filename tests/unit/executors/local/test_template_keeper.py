from pathlib import Path

import pytest

from executors.base import ExecutorSettings
from executors.local.loop import Loop
from executors.local.options import LocalOptions, PoolSettings
from executors.local.template_keeper import TemplateKeeper


def refuse_to_fork() -> int:
    raise BlockingIOError("no process left")


@pytest.mark.parametrize("preload", [["colorsys"], []])
def test_a_pool_does_not_wait_for_a_template_that_cannot_be_forked(
    tmp_path: Path, preload: list[str]
) -> None:
    settings = PoolSettings(
        name="local",
        options=LocalOptions(preload=preload),
        executor=ExecutorSettings(home=str(tmp_path), logs=str(tmp_path), store_url=""),
    )
    keeper = TemplateKeeper(Loop(), settings, refuse_to_fork, lambda: None)
    assert keeper.is_awaited == bool(preload), "from the start, before the first workers are forked"
    keeper.start()
    assert not keeper.is_awaited
    assert not keeper.is_ready
