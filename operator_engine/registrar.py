"""Makes the operator engine known to the dag engine, and keeps it known by heartbeats."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import quote

import msgspec

from executors.base import (
    AlgorithmOffer,
    ExecutorOffer,
    Heartbeat,
    HeartbeatReply,
    Registration,
    RegistrationReply,
)
from executors.catalogue import digest_catalogue
from executors.disks import measure_disks
from executors.facts import EngineFacts
from executors.store import get_local_path, is_local
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient, HttpReply
from operator_engine.addresses import DagEngineAddresses, complete_reports_url
from operator_engine.child_process import read_restarts
from operator_engine.desk import Desk
from operator_engine.registry import find_class_path
from operator_engine.sealing_key import read_public_key
from operator_engine.settings import EngineSettings

log = logging.getLogger(__name__)

ENGINES_PATH = "/internal/v1/operator-engines"
_REPLY = msgspec.json.Decoder(RegistrationReply)
_BEAT = msgspec.json.Decoder(HeartbeatReply)
_MIN_PAUSE_S = 1.0
_REGISTER_TIMEOUTS_S = (4.0, 30.0)
"""For the first try and at most: a scheduler that stands still must not hold up what another one
can do, and one that is busy must be able to answer."""

_REFUSED_PAUSE_S = 3.0
_LAST_S = 1.0


class Registrar:
    """Registers once children and executors have said what they hold, then beats.

    Parameters
    ----------
    settings : EngineSettings
        Who this engine is, and where the dag engine is.
    desk : Desk
        Main's state: the inventory comes from it and the answer goes to it.
    url : str
        Address under which the dag engine reaches main.
    load_catalogue : callable
        Returns the algorithms on offer; may take seconds.
    read_marker : callable
        Returns the marker of the artifact store.
    """

    def __init__(
        self,
        settings: EngineSettings,
        desk: Desk,
        url: str,
        load_catalogue: Callable[[], list[AlgorithmOffer]],
        read_marker: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._url = url
        self._load_catalogue = load_catalogue
        self._read_marker = read_marker
        self._addresses = DagEngineAddresses(settings.dag_engine_url)
        self._client = self._make_client()
        engine_id = quote(settings.engine_id, safe="")
        self._beat_path = f"{ENGINES_PATH}/{engine_id}/heartbeat"
        self._stopped = threading.Event()
        self._numbers = itertools.count(1)
        self._offers: list[AlgorithmOffer] = []
        self._digest = ""
        self._is_registered = False
        self._state = "starting"
        self._catalogue_problem = ""
        self._refusal = ""
        self._last_beat_at: dt.datetime | None = None
        self._heartbeat_s = settings.heartbeat_s
        self._is_leaving = False

    def start(self) -> None:
        """Register in the background."""
        threading.Thread(target=self._run, name="registrar", daemon=True).start()

    def stop(self) -> None:
        """End after the present request."""
        self._stopped.set()

    def begin_anew(self) -> None:
        """Give up a registration that is under way: another leader has come, who will answer."""
        if self._desk.is_registering:
            self._client.abort()

    def announce_leaving(self) -> None:
        """Tell the dag engine at once that this engine is being stopped."""
        self._is_leaving = True
        self._say_last(Heartbeat(incarnation=self._desk.incarnation, is_leaving=True))

    def leave(self) -> None:
        """Tell the dag engine that this engine has stopped, so that it need not find out."""
        last = Heartbeat(incarnation=self._desk.incarnation, is_leaving=True, has_left=True)
        self._say_last(last)

    def _say_last(self, beat: Heartbeat) -> None:
        """Send a heartbeat once; where it does not arrive, the lease ends by itself."""
        if not self._is_registered:
            return
        client = self._make_client()
        try:
            client.request("POST", self._beat_path, msgspec.json.encode(beat), timeout_s=_LAST_S)
        except ConnectionFailedError as error:
            log.info("leaving_not_told detail=%s", error)
        finally:
            client.close()

    def get_health(self) -> dict[str, object]:
        """Return the state of the registration, for `/healthz`."""
        return {
            "is_registered": self._is_registered,
            "registration": self._state,
            "catalogue_problem": self._catalogue_problem,
            "refusal": self._refusal,
            "algorithms": len(self._offers),
            "last_heartbeat_at": self._last_beat_at,
        }

    def _run(self) -> None:
        self._prepare_catalogue()
        missing = self._desk.wait_gathered(self._settings.gather_s)
        if missing and not self._stopped.is_set():
            log.warning("inventory_incomplete missing=%s", ",".join(missing))
        while not self._stopped.is_set():
            heartbeat_s = self._register()
            self._beat_until_forgotten(heartbeat_s)
            # However often strangers turn up, one registration a second is enough.
            self._stopped.wait(_MIN_PAUSE_S)

    def _prepare_catalogue(self) -> None:
        self._state = "loading the catalogue"
        pause_s = 1.0
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._offers = self._load_catalogue()
            except Exception as error:  # noqa: BLE001 - an edge: told and tried again, not hidden
                self._state = f"the catalogue cannot be loaded: {error}"
                self._catalogue_problem = str(error)
                log.error("catalogue_failed detail=%s", error)  # noqa: TRY400 - the sentence is for people
                self._stopped.wait(pause_s)
                pause_s = min(_REFUSED_PAUSE_S, pause_s * 2)
                continue
            self._catalogue_problem = ""
            self._digest = digest_catalogue(self._offers)
            seconds = time.monotonic() - started
            log.info("catalogue_loaded algorithms=%d seconds=%.2f", len(self._offers), seconds)
            return

    def _register(self) -> float:
        """Register, however long it takes; return the pause between heartbeats."""
        pause_s, (timeout_s, longest_s) = 0.1, _REGISTER_TIMEOUTS_S
        while not self._stopped.is_set():
            pause_s = min(2.0, pause_s * 2)
            self._state = "registering"
            try:
                body = msgspec.json.encode(self._make_registration())
                reply = self._post(ENGINES_PATH, body, timeout_s)
                if reply.status in (200, 201):
                    answer = _REPLY.decode(reply.body)
                    if not answer.is_put_off:
                        return self._settle(answer)
                    self._desk.put_off_registration(answer.epoch)
                    continue
                self._state = f"refused with {reply.status}: {read_sentence(reply)}"
                is_refused = 400 <= reply.status < 500 and reply.status not in (408, 425, 429)
            except Exception as error:  # noqa: BLE001 - a store's file system raises what it likes
                self._state, is_refused = str(error), False
                timeout_s = min(longest_s, timeout_s * 2)
            self._refusal = self._state if is_refused else ""
            self._desk.abandon_registration()
            log.warning("registration_failed detail=%s", self._state)
            self._stopped.wait(_REFUSED_PAUSE_S if is_refused else _jittered(pause_s))
        return self._settings.heartbeat_s

    def _settle(self, answer: RegistrationReply) -> float:
        self._desk.settle(answer, complete_reports_url(answer.reports_url, self._client.base_url))
        self._is_registered = True
        self._refusal = ""
        self._state = "registered"
        log.info(
            "registered epoch=%d wanted=%d forgotten=%d acknowledged=%d",
            answer.epoch,
            len(answer.tokens),
            len(answer.forget),
            len(answer.acknowledged),
        )
        if self._is_leaving:  # a registration asks for work again
            self.announce_leaving()
        return answer.heartbeat_s or self._settings.heartbeat_s

    def _make_registration(self) -> Registration:
        settings = self._settings
        return Registration(
            engine_id=settings.engine_id,
            incarnation=self._desk.incarnation,
            number=next(self._numbers),
            epoch=self._desk.epoch,
            url=self._url,
            host=socket.gethostname(),
            version=settings.version,
            labels=settings.labels,
            slots=settings.engine_slots(),
            executors=[
                ExecutorOffer(
                    name=entry.name,
                    data_types=entry.data_types,
                    slots=settings.executor_slots(entry),
                    kind=find_class_path(entry),
                )
                for entry in settings.executors
            ],
            algorithms=self._offers,
            catalogue_digest=self._digest,
            store_marker=self._read_marker(),
            inventory=self._desk.begin_registration(),
            sealing_key=read_public_key(settings.home),
        )

    def _beat_until_forgotten(self, heartbeat_s: float) -> None:
        """Send heartbeats until the dag engine, or something here, wants a new registration."""
        while not self._stopped.is_set():
            if self._desk.wait_registration_wanted(heartbeat_s) or self._stopped.is_set():
                return
            stages, _ = self._desk.count()
            beat = Heartbeat(
                incarnation=self._desk.incarnation,
                held=stages,
                is_leaving=self._is_leaving,
                facts=self._gather_facts(),
            )
            try:
                reply = self._post(
                    self._beat_path, msgspec.json.encode(beat), max(2.0, heartbeat_s)
                )
                is_forgotten = self._is_forgotten(reply)
            except (ConnectionFailedError, msgspec.DecodeError) as error:
                self._state = str(error)
                log.warning("heartbeat_failed detail=%s", error)
                continue
            if is_forgotten:
                log.info("registration_lost status=%d", reply.status)
                self._is_registered = False
                return

    def _make_client(self) -> HttpClient:
        return HttpClient(self._addresses.current, token=self._settings.token)

    def _post(self, path: str, body: bytes, timeout_s: float) -> HttpReply:
        """Call the dag engine; where it does not answer well, the next call goes elsewhere."""
        client = self._client
        try:
            reply = client.request("POST", path, body, timeout_s=timeout_s)
        except ConnectionFailedError:
            if client.is_aborted:
                self._client = self._make_client()
            else:
                self._move_on(client)
            raise
        if reply.status >= 500:
            self._move_on(client)
        return reply

    def _move_on(self, client: HttpClient) -> None:
        self._addresses.give_up(client.base_url)
        if self._addresses.current != client.base_url:
            client.close()
            self._client = self._make_client()

    def _gather_facts(self) -> EngineFacts:
        n_unacknowledged, oldest_s = self._desk.measure_backlog()
        settings = self._settings
        folders = {"spool": os.path.join(settings.home, "spool"), "logs": settings.logs_folder()}
        if settings.store_url and is_local(settings.store_url):
            folders["artifacts"] = get_local_path(settings.store_url)
        return EngineFacts(
            n_unacknowledged=n_unacknowledged,
            oldest_unacknowledged_s=oldest_s,
            disks=measure_disks(folders),
            restarts=read_restarts(settings.run_folder()),
            away=[name for name, is_up in self._desk.links().items() if not is_up],
        )

    def _is_forgotten(self, reply: HttpReply) -> bool:
        if reply.status in (404, 409):
            return True
        if reply.status != 200:
            self._state = f"heartbeat answered with {reply.status}: {read_sentence(reply)}"
            log.warning("heartbeat_refused detail=%s", self._state)
            return False
        self._state = "registered"
        self._last_beat_at = dt.datetime.now(dt.UTC)
        return not _BEAT.decode(reply.body).is_known


def read_sentence(reply: HttpReply) -> str:
    """Return what an answer says went wrong."""
    try:
        problem = msgspec.json.decode(reply.body, type=dict[str, object])
    except msgspec.DecodeError:
        return reply.body[:500].decode("utf-8", "replace").strip()
    return str(problem.get("detail") or problem.get("title") or problem)


def _jittered(pause_s: float) -> float:
    return pause_s * random.uniform(0.7, 1.0)
