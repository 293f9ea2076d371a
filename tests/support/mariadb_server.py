"""A MariaDB server of a test's own, which may be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from operator_engine.orphans import make_death_bond
from tests.support.ports import find_free_port
from tests.support.waiting import wait_until

START_S = 60.0
STOP_S = 30.0
_SETTINGS = (
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--performance-schema=OFF",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
    "--max-connections=200",
    "--skip-name-resolve",
    "--skip-log-bin",
)


class MariaDbServer:
    """A `mariadbd` with a data folder, a port and a socket of its own; root has no password.

    Parameters
    ----------
    folder : Path
        Gets the data folder and the error log.
    settings : str
        Added to the command line, such as `--innodb-snapshot-isolation=ON`.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        self.port = find_free_port()
        self.error_log = folder / "mariadbd.log"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        # A socket's path must be short, which those of pytest's folders are not.
        self._run_folder = Path(tempfile.mkdtemp(prefix="dagengine-mariadb-"))

    @property
    def pid(self) -> int:
        """The process id; fails where the server does not run."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives, be it stopped or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, the first time with new tables, and wait until it answers."""
        data = self.folder / "data"
        if not data.exists():
            self._install(data)
        with self.error_log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    find_program("mariadbd", "mysqld"),
                    "--no-defaults",
                    *_as_root(),
                    f"--datadir={data}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    f"--socket={self._run_folder / 'sock'}",
                    f"--pid-file={self._run_folder / 'pid'}",
                    *_SETTINGS,
                    *self._settings,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=make_death_bond(signal.SIGKILL),
            )
        wait_until(self._answers, START_S, self.describe)

    def kill(self) -> None:
        """End it at once, as a crash of the process does, and wait for its end."""
        assert self._process is not None, "the server does not run"
        self._process.kill()
        self._process.wait(STOP_S)

    def pause(self) -> None:
        """Stop all its threads; its connections stay and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # Busy, it may answer once more; the parent is told when all threads stand still.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it in good order; does nothing where it does not run."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Leave nothing but the folder that was given: no process, no socket."""
        try:
            if self.is_running:
                self.kill()
        finally:
            shutil.rmtree(self._run_folder, ignore_errors=True)

    def connect(self, **options: Any) -> Any:
        """Connect as root."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            **{"connect_timeout": 5, "read_timeout": 30, "autocommit": True, **options},
        )

    def make_database(self, name: str = "dagengine_test") -> str:
        """Make an empty database and return its URL."""
        with contextlib.closing(self.connect()) as connection:
            connection.query(f"CREATE DATABASE {name} CHARACTER SET latin1")
        return self.url(name)

    def url(self, name: str, port: int | None = None) -> str:
        """Return the URL of a database, by way of another port if one is named."""
        return sa.URL.create(
            "mysql+pymysql", "root", host="127.0.0.1", port=port or self.port, database=name
        ).render_as_string(hide_password=False)

    def knows(self, variable: str) -> bool:
        """Tell whether the server has a variable of this name."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            return bool(cursor.execute("SHOW GLOBAL VARIABLES LIKE %s", (variable,)))

    def describe(self) -> str:
        """What helps to understand a failure: the end of its log."""
        text = self.error_log.read_text(errors="replace") if self.error_log.exists() else ""
        return f"mariadbd on port {self.port}: {text[-2000:]}"

    def _answers(self) -> bool:
        assert self.is_running, f"it has ended: {self.describe()}"
        try:
            self.connect().close()
        except pymysql.err.MySQLError:
            return False
        return True

    def _install(self, data: Path) -> None:
        made = subprocess.run(
            [
                find_program("mariadb-install-db", "mysql_install_db"),
                "--no-defaults",
                *_as_root(),
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=16M",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert made.returncode == 0, made.stdout + made.stderr


@contextlib.contextmanager
def run_mariadb(folder: Path, *settings: str) -> Iterator[MariaDbServer]:
    """Run a server until the end of the block; skips where none is installed, fails in CI."""
    require_mariadb()
    folder.mkdir(parents=True, exist_ok=True)
    server = MariaDbServer(folder, *settings)
    try:
        server.start()
        yield server
    finally:
        server.close()


def require_mariadb() -> None:
    """Skip the test where MariaDB is not installed; fail it where CI is set."""
    try:
        find_program("mariadbd", "mysqld")
        find_program("mariadb-install-db", "mysql_install_db")
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def find_program(*names: str) -> str:
    """Find a program of the server, also where only root's path has it."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    raise FileNotFoundError(f"{names[0]} is not installed on this machine (Debian: mariadb-server)")


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
