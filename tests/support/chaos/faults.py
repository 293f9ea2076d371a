"""What is done to a cluster: each fault knows how it begins, how it ends, and whom it touches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import sqlalchemy as sa

from dag_engine.storage import tables
from dag_engine.storage.errors import StorageError
from tests.support.chaos.cluster import LAUNCHER, Cluster, Member, find_children
from tests.support.mariadb_server import MariaDbServer
from tests.support.tcp_proxy import TcpProxy

EVERYTHING = "everything"
_TAIL_BYTES = 32 * 1024
_BUSY_S = 0.5


@dataclass(slots=True)
class FaultRecord:
    """A fault that happened, as the log of faults and the checker know it.

    `reach` names the operator engines whose attempts it may end. `pids` were killed. `promise`
    names the bound on the recovery, which took `recovery_s` seconds where it could be measured.
    """

    number: int
    kind: str
    target: str
    began: float
    ended: float = 0.0
    reach: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    attempt_id: str = ""
    promise: str = ""
    bound_s: float = 0.0
    recovery_s: float | None = None

    def __str__(self) -> str:
        took = "" if self.recovery_s is None else f" {self.promise}={self.recovery_s:.2f}s"
        return (
            f"#{self.number} {self.began:.2f}+{self.ended - self.began:.2f}s "
            f"{self.kind} {self.target}{took}"
        )


class Fault(ABC):
    """Something that is done to a cluster for a while.

    `hold_s` is how long it lasts; 0 for what is over at once.
    """

    kind = ""

    def __init__(self, cluster: Cluster, target: str, hold_s: float = 0.0) -> None:
        self.cluster = cluster
        self.target = target
        self.hold_s = hold_s
        self.pids: list[int] = []
        self.attempt_id = ""

    @abstractmethod
    def begin(self) -> bool:
        """Do it; false where there was nothing that it could be done to."""

    def end(self) -> None:  # noqa: B027 - most faults are over at once
        """Undo it, or begin to start again what was ended."""

    def settle(self) -> None:  # noqa: B027 - most faults are over when they are undone
        """Wait until what was started again works, for which no other fault may last."""

    def reach(self) -> list[str]:
        """Name the operator engines whose attempts it may end."""
        return [member.name for member in self.cluster.operator_engines]


class KillProcess(Fault):
    """`kill -9` of one process; its launcher starts it again."""

    kind = "kill"

    def __init__(self, cluster: Cluster, member: Member, process: str) -> None:
        super().__init__(cluster, f"{member.name} {process}")
        self.member = member
        self.process = process

    def begin(self) -> bool:
        """Kill it, where it lives just now."""
        pid = self._find()
        self.pids = [pid]
        return bool(pid) and _send(pid, signal.SIGKILL)

    def _find(self) -> int:
        """Find the process; of the workers one that is busy, where one is within a moment."""
        deadline = time.monotonic() + _BUSY_S
        while self.process == "pool worker" and time.monotonic() < deadline:
            busy = find_busy_worker(self.cluster, self.member)
            if busy is not None:
                pid, self.attempt_id = busy
                return pid
        return self.member.find_pid(self.process) or 0

    def reach(self) -> list[str]:
        """Name the engine; all where it is the dag engine's."""
        return super().reach() if self.member.is_dag_engine else [self.member.name]


class StopProcess(KillProcess):
    """`SIGSTOP` of one process, and `SIGCONT` later: it wakes up and knows nothing of it."""

    kind = "stop"

    def __init__(self, cluster: Cluster, member: Member, process: str, hold_s: float) -> None:
        super().__init__(cluster, member, process)
        self.hold_s = hold_s

    def begin(self) -> bool:
        """Stop it, where it lives just now."""
        pid = self._find()
        self.pids = [pid]
        return bool(pid) and _send(pid, signal.SIGSTOP)

    def end(self) -> None:
        """Let it go on; a stopped leader may have been killed by its successor."""
        _send(self.pids[0], signal.SIGCONT)


class KillMember(Fault):
    """`kill -9` of a launcher, with which all its processes end; it is started again later."""

    kind = "kill all of"

    def __init__(self, cluster: Cluster, member: Member, hold_s: float) -> None:
        super().__init__(cluster, member.name, hold_s)
        self.member = member

    def begin(self) -> bool:
        """Kill it."""
        self.pids = [self.member.find_pid(LAUNCHER) or 0]
        self.member.kill()
        return True

    def end(self) -> None:
        """Start it again."""
        self.member.start()

    def settle(self) -> None:
        """Wait until it works."""
        self.member.wait_ready()

    def reach(self) -> list[str]:
        """Name the engine; all where it is a dag engine."""
        return super().reach() if self.member.is_dag_engine else [self.member.name]


class StopMember(KillMember):
    """`SIGSTOP` of all processes of a service at once, as a sleeping machine does; all wake later.

    What its workers had in hand is finished then, long after others were given it.
    """

    kind = "stop all of"

    def begin(self) -> bool:
        """Stop it."""
        self.pids = [int(line.split()[0]) for line in self.member.running.find_processes()]
        for pid in self.pids:
            _send(pid, signal.SIGSTOP)
        return bool(self.pids)

    def end(self) -> None:
        """Let it go on."""
        for pid in self.pids:
            _send(pid, signal.SIGCONT)

    def settle(self) -> None:
        """It was started by nobody, and need not be waited for."""


class KillEverything(Fault):
    """`kill -9` of all processes at once, the database server among them."""

    kind = "kill"

    def __init__(self, cluster: Cluster, hold_s: float) -> None:
        super().__init__(cluster, EVERYTHING, hold_s)

    def begin(self) -> bool:
        """Kill everything."""
        for member in self.cluster.members:
            member.running.process.kill()
        if self.cluster.server is not None:
            self.cluster.server.kill()
        for member in self.cluster.members:
            member.kill()
        return True

    def end(self) -> None:
        """Start everything again."""
        if self.cluster.server is not None:
            self.cluster.server.start()
        for member in self.cluster.members:
            member.start()

    def settle(self) -> None:
        """Wait until everything works."""
        for member in self.cluster.members:
            member.wait_ready()


class KillServer(Fault):
    """`kill -9` of the database server; it is started again later."""

    kind = "kill"

    def __init__(self, cluster: Cluster, server: MariaDbServer, hold_s: float) -> None:
        super().__init__(cluster, "database server", hold_s)
        self.server = server

    def begin(self) -> bool:
        """Kill it."""
        self.server.kill()
        return True

    def end(self) -> None:
        """Start it again."""
        self.server.start()


class StopServer(KillServer):
    """`SIGSTOP` of the database server: its connections stay and nothing answers."""

    kind = "stop"

    def begin(self) -> bool:
        """Stop it."""
        self.server.pause()
        return True

    def end(self) -> None:
        """Let it go on."""
        self.server.resume()


class HoldSqlite(Fault):
    """A foreign program begins to write in the SQLite file, waits, and is killed half-way.

    With `is_queue` it stands in the queue before the file instead: what a process does that was
    stopped in the middle of a transaction.
    """

    kind = "hold"
    _WRITER = (
        "import sqlite3,sys,time\n"
        "c=sqlite3.connect(sys.argv[1],timeout=30,isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('UPDATE leader SET epoch = epoch + 1000')\n"
        "print('held',flush=True);time.sleep(600)\n"
    )
    _QUEUER = (
        "import fcntl,sys,time\n"
        "f=open(sys.argv[1]+'.lock','a');fcntl.flock(f,fcntl.LOCK_EX)\n"
        "print('held',flush=True);time.sleep(600)\n"
    )

    def __init__(self, cluster: Cluster, hold_s: float, *, is_queue: bool) -> None:
        super().__init__(cluster, "SQLite's queue" if is_queue else "SQLite's file", hold_s)
        self._code = self._QUEUER if is_queue else self._WRITER
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> bool:
        """Hold it, as soon as it can be had."""
        path = sa.make_url(self.cluster.url).database or ""
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", self._code, path], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        is_held = self._process.stdout.readline() == b"held\n"
        if not is_held:
            self.end()
        return is_held

    def end(self) -> None:
        """Kill the holder: what it has begun is undone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class DisturbWay(Fault):
    """A fault of the network between two processes."""

    def __init__(self, cluster: Cluster, way: str, kind: str, hold_s: float, n: int = 1) -> None:
        super().__init__(cluster, way, hold_s)
        self.kind = kind
        self._n = n
        self._proxy: TcpProxy = cluster.proxies[way]

    def begin(self) -> bool:
        """Disturb the way."""
        proxy = self._proxy
        if self.kind == "cut":
            proxy.cut()
        elif self.kind == "black hole":
            proxy.stall()
        elif self.kind == "swallow answers":
            proxy.stall(requests=False)
        elif self.kind == "slow":
            proxy.latency_s, proxy.jitter_s = 0.1, 0.3
        elif self.kind == "slice":
            proxy.slice_bytes = 200
        elif self.kind == "reset":
            proxy.reset_peer()
        elif self.kind == "lose answers":
            proxy.drop_replies(self._n)
        else:
            assert self.kind == "send twice", self.kind
            proxy.duplicate(self._n)
        return True

    def end(self) -> None:
        """Mend the way; what was swallowed by a hole is lost."""
        if self.kind in ("black hole", "swallow answers"):
            self._proxy.cut()
        self._proxy.mend()

    def reach(self) -> list[str]:
        """Name the engine at the end of the way; else all."""
        engine = self.target.removeprefix("scheduler->")
        everybody = super().reach()
        return [engine] if engine in everybody else everybody


def find_leader(cluster: Cluster) -> Member | None:
    """Find the dag engine whose scheduler leads, by the leader row; None where it cannot be
    told.
    """
    database = cluster.open_database()
    try:
        pid = database.read(lambda c: c.scalar(sa.select(tables.leader.c.pid)), deadline_s=1.0)
    except StorageError:  # the database is among what is disturbed
        return None
    finally:
        database.close()
    for member in cluster.dag_engines:
        if member.find_pid("scheduler") == pid:
            return member
    return None


def find_busy_worker(cluster: Cluster, member: Member) -> tuple[int, str] | None:
    """Find a worker in the middle of an operator, and its attempt, by what operators wrote down."""
    supervisor = member.find_pid("executor-local")
    if supervisor is None or not cluster.ledger.exists():
        return None
    own = set(find_children(supervisor))
    busy: dict[int, str] = {}
    with cluster.ledger.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        file.readline()  # perhaps the end of a line
        for text in file:
            line = json.loads(text)
            busy.pop(line["pid"], None)
            if line["what"] == "start" and line["pid"] in own:
                busy[line["pid"]] = line["attempt_id"]
    return next(iter(busy.items()), None)


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
