"""The api on a fresh SQLite file, and for some tests on a real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.access_rig import AccessRig
from tests.support.api_rig import ApiRig


@pytest.fixture(scope="session")
def _empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables and no rows; copying it is faster than making it."""
    folder = tmp_path_factory.mktemp("empty")
    databases.open_migrated(databases.sqlite_url(folder)).close()
    return folder / "dagengine.db"


@pytest.fixture
def make_rig(tmp_path: Path, _empty_sqlite: Path) -> Iterator[Callable[..., ApiRig]]:
    """Make an api with settings of one's own."""
    made: list[ApiRig] = []

    def make(url: str = "", **changes: object) -> ApiRig:
        home = tmp_path / f"home{len(made)}"
        home.mkdir()
        if not url:
            shutil.copy(_empty_sqlite, home / "dagengine.db")
        made.append(ApiRig(home, url or databases.sqlite_url(home), **changes))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: Callable[..., ApiRig]) -> ApiRig:
    """An api with the example's catalogue."""
    made = make_rig()
    made.register()
    return made


@pytest.fixture(params=databases.DIALECTS)
def rig_everywhere(
    request: pytest.FixtureRequest, make_rig: Callable[..., ApiRig]
) -> Iterator[ApiRig]:
    """The same on SQLite and on a real server."""
    if request.param == "sqlite":
        made = make_rig()
        made.register()
        yield made
        return
    with databases.fresh_mysql_url() as url:
        made = make_rig(url)
        made.register()
        yield made
        made.close()


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory, _empty_sqlite: Path) -> Iterator[AccessRig]:
    """An api with teams and tokens, shared by the tests of a module."""
    home = tmp_path_factory.mktemp("access")
    shutil.copy(_empty_sqlite, home / "dagengine.db")
    made = AccessRig(home, databases.sqlite_url(home))
    yield made
    made.close()
