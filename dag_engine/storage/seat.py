"""The SQL of the leader row, in both dialects. All times in it are the database's own."""

from __future__ import annotations

from typing import NamedTuple

SEAT = 1


class SeatSql(NamedTuple):
    """The statements on the one leader row."""

    read: str
    make: str
    take: str
    renew: str
    resign: str
    fence: str
    progress: str


class SeatRow(NamedTuple):
    """The leader row as a standby or the leader sees it."""

    epoch: int
    batch: int
    holder: str
    lease_until: str
    is_expired: bool
    is_odd: bool
    host: str
    pid: int
    process_started: int


# `is_odd`: the lease ends later than any lease granted now would, so the clock was set back.
SQLITE = SeatSql(
    read=(
        "SELECT epoch, batch, holder, lease_until, "
        "lease_until <= strftime('%Y-%m-%d %H:%M:%f', 'now') || '000', "
        "lease_until > strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds') || '000', "
        "host, pid, process_started FROM leader WHERE seat = 1"
    ),
    make=(
        "INSERT OR IGNORE INTO leader (seat, lease_until) "
        "VALUES (1, strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"
    ),
    take=(
        "UPDATE leader SET epoch = epoch + 1, holder = ?, url = ?, "
        "lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds') || '000', "
        "connection_id = ?, host = ?, pid = ?, process_started = ? "
        "WHERE seat = 1 AND epoch = ? AND batch = ? AND lease_until = ?"
    ),
    renew=(
        "UPDATE leader SET "
        "lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds') || '000' "
        "WHERE seat = 1 AND epoch = ?"
    ),
    resign=(
        "UPDATE leader SET holder = '', url = '', "
        "lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now') || '000' "
        "WHERE seat = 1 AND epoch = ?"
    ),
    fence=(
        "UPDATE leader SET batch = ?, "
        "lease_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ? || ' seconds') || '000' "
        "WHERE seat = 1 AND epoch = ? AND batch = ?"
    ),
    progress="SELECT epoch, batch FROM leader WHERE seat = 1",
)

MYSQL = SeatSql(
    read=(
        "SELECT epoch, batch, holder, CAST(lease_until AS CHAR), "
        "lease_until <= UTC_TIMESTAMP(6), "
        "lease_until > UTC_TIMESTAMP(6) + INTERVAL %s SECOND, "
        "host, pid, process_started FROM leader WHERE seat = 1"
    ),
    make="INSERT IGNORE INTO leader (seat, lease_until) VALUES (1, UTC_TIMESTAMP(6))",
    take=(
        "UPDATE leader SET epoch = epoch + 1, holder = %s, url = %s, "
        "lease_until = UTC_TIMESTAMP(6) + INTERVAL %s SECOND, "
        "connection_id = %s, host = %s, pid = %s, process_started = %s "
        "WHERE seat = 1 AND epoch = %s AND batch = %s AND lease_until = %s"
    ),
    renew=(
        "UPDATE leader SET lease_until = UTC_TIMESTAMP(6) + INTERVAL %s SECOND "
        "WHERE seat = 1 AND epoch = %s"
    ),
    resign=(
        "UPDATE leader SET holder = '', url = '', lease_until = UTC_TIMESTAMP(6) "
        "WHERE seat = 1 AND epoch = %s"
    ),
    # Travels with the whole batch in one message, where no row count can be looked at between two
    # statements. So the fence has to fail by itself: NULL does not fit the columns (error 1048),
    # and the server drops the rest of the message. Both columns are set before the lease.
    fence=(
        "UPDATE leader SET batch = IF(epoch = %s AND batch = %s, %s, NULL), "
        "lease_until = UTC_TIMESTAMP(6) + INTERVAL %s SECOND WHERE seat = 1"
    ),
    progress="SELECT epoch, batch FROM leader WHERE seat = 1",
)
