"""What is written when an operator engine registers or leaves for good."""

from __future__ import annotations

import datetime as dt

import msgspec

from dag_engine.storage.batch_rows import Row, Step, json_text
from dag_engine.storage.moments import to_text
from dag_engine.storage.seat import SEAT
from dag_engine.storage.sessions import Session
from executors.base import Registration

_NAMESPACE = "default"


def _catalogue_revision(session: Session) -> int:
    rows = session.query("SELECT catalogue_revision FROM leader WHERE seat = 1")
    return int(rows[0][0]) if rows else 0


def _stored_digest(session: Session, engine_id: str) -> str | None:
    rows = session.query("SELECT engine_id, catalogue_digest FROM operator_engines")
    return next((str(digest) for known, digest in rows if known == engine_id), None)


def save_steps(session: Session, registration: Registration, now: dt.datetime) -> list[Step]:
    """List the steps that remember an engine; its offers only where its catalogue has changed."""
    kept = msgspec.structs.replace(registration, algorithms=[], inventory=[])
    moment = to_text(now)
    row: Row = (
        registration.engine_id,
        _NAMESPACE,
        registration.incarnation,
        registration.url,
        registration.host,
        registration.version,
        registration.slots,
        json_text(kept),
        registration.catalogue_digest,
        1,
        moment,
        moment,
        None,
    )
    steps = [Step("register_engine", [row])]
    digest = registration.catalogue_digest
    if digest and digest == _stored_digest(session, registration.engine_id):
        return steps
    return steps + _offer_steps(session, registration)


def _offer_steps(session: Session, registration: Registration) -> list[Step]:
    revision = _catalogue_revision(session) + 1
    engine_id = registration.engine_id
    algorithms = [
        (engine_id, offer.name, _NAMESPACE, offer.code_version, json_text(offer), revision)
        for offer in sorted(registration.algorithms, key=lambda offer: offer.name)
    ]
    executors = [
        (engine_id, offer.name, _NAMESPACE, json_text(offer), revision)
        for offer in sorted(registration.executors, key=lambda offer: offer.name)
    ]
    steps = [
        Step("set_catalogue_revision", [(revision, SEAT)]),
        Step("drop_algorithms", [(engine_id,)]),
        Step("drop_executors", [(engine_id,)]),
        Step("add_algorithm", algorithms),
        Step("add_executor", executors),
    ]
    return [step for step in steps if step.rows]


def drop_steps(session: Session, engine_id: str, now: dt.datetime) -> list[Step]:
    """List the steps that forget an engine; its row stays for the history of its attempts."""
    return [
        Step("set_catalogue_revision", [(_catalogue_revision(session) + 1, SEAT)]),
        Step("drop_algorithms", [(engine_id,)]),
        Step("drop_executors", [(engine_id,)]),
        Step("deregister_engine", [(to_text(now), 0, "", engine_id)]),
    ]
