"""Reports outcomes to the dag engine, in batches of whatever has gathered meanwhile."""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from executors.base import Outcome, Report, ReportBatch, ReportReply, Verdict
from executors.transport.errors import ConnectionFailedError
from executors.transport.http_client import HttpClient, HttpReply
from operator_engine.addresses import REPORTS_PATH, DagEngineAddresses
from operator_engine.messages import FromMonitor, StageNote, ToMonitor
from operator_engine.outbox import Outbox, Release

log = logging.getLogger(__name__)

_BATCH_LIMIT = 1000
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 0.5
_TIMEOUT_S = 3.0
"""The dag engine answers within 2 s, if only to say that its database is away."""

_LONGEST_BATCH_BYTES = 16 * 1024 * 1024
_LONGEST_REPORT_BYTES = 48 * 1024 * 1024
"""The dag engine lets in 64 MiB at once."""
_NEVER_TAKEN = frozenset({400, 413, 422, 431})
"""Where the dag engine says one of these to a batch, it will say it every time."""

_REPLY = msgspec.json.Decoder(ReportReply)


@dataclass(slots=True)
class _Post:
    """A batch on its way to the dag engine; `begun_by` has sent it and is to read the answer."""

    reports: list[Report]
    begun_by: HttpClient | None = None


class Reporter:
    """Guards the outbox, and empties it in a thread of its own.

    Where that thread rests, whoever brings an outcome sends it too, and the thread only takes the
    answer: to wake it first would take as long as the whole way to the dag engine.

    Parameters
    ----------
    engine_id, dag_engine_url, token : str
        Who reports, where dag engines are, and the API token that is sent to them.
    tell_main : callable
        Sends a message to main; what it says is known to `make_hello` by then.
    release : callable
        Takes ends that executors may forget; must not block.
    """

    def __init__(
        self,
        engine_id: str,
        dag_engine_url: str,
        token: str,
        tell_main: Callable[[FromMonitor], object],
        release: Callable[[list[Release]], None],
    ) -> None:
        self._engine_id = engine_id
        self._api_token = token
        self._tell_main = tell_main
        self._release = release
        self._outbox = Outbox()
        self._changed = threading.Condition()
        self._polled: set[str] = set()
        self._later: dict[str, StageNote] = {}
        self._incarnation = ""
        self._addresses = DagEngineAddresses(dag_engine_url)
        self._reports_url = ""
        self._is_falling_back = False
        self._has_told_loss = False
        self._client: HttpClient | None = None
        self._path = ""
        self._is_resting = False
        self._ahead: _Post | None = None
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Start reporting."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present request; what is not acknowledged is told again after a restart."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join(2.0)

    def hear_executor(self, executor: str, outcomes: list[Outcome], *, is_first: bool) -> None:
        """Take what one poll brought; `is_first` when it tells all that the executor holds."""
        with self._changed:
            now = time.monotonic()
            notes, releases = self._outbox.tell(executor, outcomes, now, dt.datetime.now(dt.UTC))
            if is_first:
                self._polled.add(executor)
            urgent, lacks_token = self._sort_notes(notes)
            if outcomes:
                self._send_ahead(now)
                self._changed.notify()
        if releases:
            self._release(releases)
        if urgent or is_first:
            polled = [executor] if is_first else []
            self._tell_main(FromMonitor(notes=urgent, polled=polled, needs_answer=lacks_token))

    def _sort_notes(self, notes: list[StageNote]) -> tuple[list[StageNote], bool]:
        """Set notes aside that go to main after the report; return those that go at once.

        At once goes what lacks its token, which is the second result, and what no report follows.
        """
        urgent: list[StageNote] = []
        lacks_token = False
        for note in notes:
            has_token = bool(self._outbox.follows[note.attempt_id].token)
            lacks_token |= not has_token
            if has_token and note.stage != "accepted":
                self._later[note.attempt_id] = note
            else:
                urgent.append(note)
        return urgent, lacks_token

    def _send_ahead(self, now: float) -> None:
        """Send what is due, unless the thread has something under way or has to connect first."""
        if not self._is_resting or self._ahead is not None or self._client is None:
            return
        reports, _ = self._outbox.take(_BATCH_LIMIT, now)
        if not reports:
            return
        self._ahead = _Post(reports)
        body, refusal = self._encode(reports)
        if not refusal and self._client.begin("POST", self._path, body):
            self._ahead.begun_by = self._client

    def hear_main(self, message: ToMonitor) -> None:
        """Take tokens, ends and the address of the reports from main."""
        with self._changed:
            releases = self._outbox.learn(message)
            if message.reports_url:
                self._incarnation = message.incarnation
                if self._is_falling_back or message.reports_url != self._reports_url:
                    if self._client is not None:
                        # A scheduler that was followed by another one may never answer.
                        self._client.abort()
                    self._client = None
                self._reports_url = message.reports_url
                self._is_falling_back = self._has_told_loss = False
            if message.reports_url or self._outbox.ready:
                self._changed.notify()  # tokens alone, which come with each batch, are not news
        if releases:
            self._release(releases)

    def make_hello(self) -> bytes:
        """Return the first message for a new main."""
        with self._changed:
            hello = self._outbox.make_hello(self._polled)
        return msgspec.json.encode(FromMonitor(hello=hello))

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            post = self._take()
            if post is None:
                if self._client is not None:
                    self._client.close()
                return
            reports = post.reports
            if post.begun_by is not None:
                verdicts = self._send(reports, self._receive(post.begun_by, len(reports)))
            else:
                verdicts = self._send(reports)
            if verdicts is None:
                with self._changed:
                    self._outbox.put_back(reports)
                    if self._is_falling_back:
                        continue  # at the other address somebody may answer at once
                    self._changed.wait_for(
                        lambda: self._is_stopped, pause_s * random.uniform(0.7, 1.0)
                    )
                pause_s = min(_MAX_PAUSE_S, pause_s * 2)
                continue
            pause_s = _FIRST_PAUSE_S
            self._settle(reports, verdicts)

    def _take(self) -> _Post | None:
        """Wait for reports; None when it is time to end."""
        with self._changed:
            while not self._is_stopped:
                if self._ahead is not None:
                    post, self._ahead = self._ahead, None
                    return post
                now = time.monotonic()
                if self._reports_url:
                    reports, due = self._outbox.take(_BATCH_LIMIT, now)
                    if reports:
                        return _Post(reports)
                else:
                    due = None
                self._is_resting = True
                self._changed.wait(None if due is None else max(0.0, due - now))
                self._is_resting = False
        return None

    def _send(
        self, reports: list[Report], answer: tuple[list[Verdict] | None, str] | None = None
    ) -> list[Verdict] | None:
        """Send one batch, unless its answer is there; return the verdicts, or None where it must
        be repeated.

        A batch that will never be taken is halved until the one report is found that is to blame:
        it must not hold up all the others.
        """
        verdicts, refusal = self._send_once(reports) if answer is None else answer
        if not refusal:
            return verdicts
        if len(reports) == 1:
            return self._replace(reports[0], refusal)
        middle = len(reports) // 2
        first = self._send(reports[:middle])
        return None if first is None else first + (self._send(reports[middle:]) or [])

    def _send_once(self, reports: list[Report]) -> tuple[list[Verdict] | None, str]:
        """Send one batch as it is; return also why it will never be taken, if it will not."""
        with self._changed:
            body, refusal = self._encode(reports)
            client, path = self._get_client(), self._path
        if refusal:
            return None, refusal
        return self._judge(client, len(reports), lambda: client.request("POST", path, body))

    def _receive(self, client: HttpClient, n_reports: int) -> tuple[list[Verdict] | None, str]:
        """Take the answer to a batch that was sent already; as `_send_once`."""
        return self._judge(client, n_reports, client.finish)

    def _encode(self, reports: list[Report]) -> tuple[bytes, str]:
        """Write a batch; the second result says why it cannot be sent, if it cannot."""
        batch = ReportBatch(
            engine_id=self._engine_id, incarnation=self._incarnation, reports=reports
        )
        try:
            body = msgspec.json.encode(batch)
        except Exception as error:  # noqa: BLE001 - outcomes hold whatever a third party's code put in
            return b"", f"it is no message: {error}"
        if len(body) > (_LONGEST_BATCH_BYTES if len(reports) > 1 else _LONGEST_REPORT_BYTES):
            return b"", f"it is {len(body) >> 20} MiB long"
        return body, ""

    def _judge(
        self, client: HttpClient, n_reports: int, ask: Callable[[], HttpReply]
    ) -> tuple[list[Verdict] | None, str]:
        try:
            reply = ask()
            if reply.status == 200:
                return _REPLY.decode(reply.body).verdicts, ""
            if reply.status in _NEVER_TAKEN:
                return None, f"{reply.status} {reply.body[:500].decode('utf-8', 'replace')}"
            detail = f"{client.base_url} answered {reply.status}: {reply.body[:300]!r}"
        except (ConnectionFailedError, msgspec.DecodeError) as error:
            detail = str(error)
        log.warning("reports_not_acknowledged n=%d detail=%s", n_reports, detail)
        self._change_address(client)
        return None, ""

    def _replace(self, report: Report, refusal: str) -> list[Verdict] | None:
        """Report a failure in place of an end that cannot be told; anything else is left out."""
        outcome = report.outcome
        attempt_id = outcome.attempt_id
        log.error("report_never_taken attempt_id=%s detail=%s", attempt_id, refusal)
        verdict = Verdict(attempt_id=attempt_id, kind=outcome.kind, verdict="refused")
        if outcome.kind != "ended":
            return [verdict]
        with self._changed:
            follow = self._outbox.follows.get(attempt_id)
        executor = follow.executor if follow is not None else ""
        failure = Outcome(
            attempt_id=attempt_id,
            kind="ended",
            state="failed",
            reason="invalid_output",
            message=f"What executor {executor!r} told of its end cannot be reported: {refusal}",
        )
        verdicts, refusal = self._send_once([msgspec.structs.replace(report, outcome=failure)])
        return [verdict] if refusal else verdicts

    def _get_client(self) -> HttpClient:
        if self._client is None:
            url = self._reports_url
            if self._is_falling_back:
                url = self._addresses.current + REPORTS_PATH
            parts = urlsplit(url)
            base_url = f"{parts.scheme}://{parts.netloc}"
            self._client = HttpClient(base_url, token=self._api_token, timeout_s=_TIMEOUT_S)
            self._path = parts.path
        return self._client

    def _change_address(self, failed: HttpClient) -> None:
        """Try the other address next: the leader may have moved."""
        failed.close()
        with self._changed:
            if self._client is failed:
                self._client = None
                if self._is_falling_back:
                    self._addresses.give_up(failed.base_url)
                self._is_falling_back = not self._is_falling_back
            notes = self._take_notes([])
        if notes:
            self._tell_main(FromMonitor(notes=notes))

    def _take_notes(self, acknowledged: list[str]) -> list[StageNote]:
        """Take the notes that were set aside, without those that an acknowledgement overtakes."""
        for attempt_id in acknowledged:
            self._later.pop(attempt_id, None)
        notes = list(self._later.values())
        self._later = {}
        return notes

    def _settle(self, reports: list[Report], verdicts: list[Verdict]) -> None:
        judged = {(verdict.attempt_id, verdict.kind) for verdict in verdicts}
        left = [r for r in reports if (r.outcome.attempt_id, r.outcome.kind) not in judged]
        for verdict in verdicts:
            if verdict.verdict in ("stale", "refused"):
                log.warning(
                    "report_not_applied attempt_id=%s kind=%s verdict=%s message=%s",
                    verdict.attempt_id,
                    verdict.kind,
                    verdict.verdict,
                    verdict.message,
                )
        with self._changed:
            ended, releases = self._outbox.acknowledge(verdicts)
            if left:
                log.warning("verdicts_missing n=%d", len(left))
                self._outbox.put_back(left)
            notes = self._take_notes(ended)
            # Only the other address answered: main asks for the present one by registering.
            is_lost = self._is_falling_back and not self._has_told_loss
            self._has_told_loss = self._is_falling_back
        if ended or notes or is_lost:
            # Main first: were this process killed in between, the end would be told again, and
            # main would know that it is settled.
            self._tell_main(FromMonitor(notes=notes, acknowledged=ended, is_address_lost=is_lost))
        if releases:
            self._release(releases)
