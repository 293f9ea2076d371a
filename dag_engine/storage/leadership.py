"""The leader row: taking, keeping and giving up leadership."""

from __future__ import annotations

import logging
import time

from dag_engine.storage.processes import is_surely_dead
from dag_engine.storage.seat import SeatRow
from dag_engine.storage.sessions import Session, own_process

log = logging.getLogger(__name__)


class Leadership:
    """Holds our epoch and the number of our last batch, as they stand in the leader row."""

    def __init__(self, session: Session, *, holder: str, url: str, lease_s: float) -> None:
        self._session = session
        self._holder = holder
        self._url = url
        self._lease_s = lease_s
        self._seen: tuple[int, int, str] | None = None
        self._seen_at = 0.0
        self.epoch = 0
        self.batch = 0

    def forget(self) -> None:
        """Remember that we no longer lead."""
        self.epoch = 0

    def try_lead(self) -> int | None:
        """Take an expired lease or that of a process that is dead, or keep our own."""
        row = self._read()
        if row.holder == self._holder and row.epoch == (self.epoch or row.epoch):
            # Ours, perhaps by a takeover whose answer was lost.
            self.epoch, self.batch = row.epoch, row.batch
            if self.renew():
                return self.epoch
        self.epoch = 0
        if not self._may_take(row):
            return None
        if self._session.take_over(row, lambda: self._take(row)) != 1:
            return None
        self.epoch, self.batch = row.epoch + 1, row.batch
        log.info("leadership_taken epoch=%d former=%s", self.epoch, row.holder or "-")
        return self.epoch

    def renew(self) -> bool:
        """Prolong the lease by the database's clock; false if the epoch is no longer ours."""
        if not self.epoch:
            return False
        sql = self._session.sql.renew
        if self._session.execute(sql, (self._lease_s, self.epoch)) == 1:
            return True
        self.forget()
        return False

    def resign(self) -> None:
        """End the lease now."""
        if self.epoch:
            self._session.execute(self._session.sql.resign, (self.epoch,))
            log.info("leadership_resigned epoch=%d", self.epoch)
            self.forget()

    def _read(self) -> SeatRow:
        rows = self._session.query(self._session.sql.read, (self._lease_s,))
        if not rows:
            self._session.execute(self._session.sql.make)
            rows = self._session.query(self._session.sql.read, (self._lease_s,))
        return SeatRow(*rows[0])

    def _may_take(self, row: SeatRow) -> bool:
        # A scheduler that is started again need not wait for the lease of the one that died.
        if row.is_expired or is_surely_dead(row.host, row.pid, row.process_started):
            return True
        seen = (row.epoch, row.batch, row.lease_until)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
            return False
        # The database's clock was set back and the lease would run for ever; a living leader
        # renews it, so one that stands still for a whole lease is nobody's.
        return bool(row.is_odd) and time.monotonic() - self._seen_at > self._lease_s

    def _take(self, row: SeatRow) -> int:
        host, pid, started = own_process()
        return self._session.execute(
            self._session.sql.take,
            (
                self._holder,
                self._url,
                self._lease_s,
                self._session.connection_id,
                host,
                pid,
                started,
                row.epoch,
                row.batch,
                row.lease_until,
            ),
        )
