"""The catalogue: what all operator engines offer that were not deregistered."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from dag_engine.core.catalogue import Catalogue
from dag_engine.storage import tables
from dag_engine.storage.database import Database
from executors.base import AlgorithmOffer, ExecutorOffer

_algorithm_decoder = msgspec.json.Decoder(AlgorithmOffer)
_executor_decoder = msgspec.json.Decoder(ExecutorOffer)
_REVISION = sa.select(tables.leader.c.catalogue_revision)


def read_revision(database: Database) -> str:
    """Tell the catalogue's revision; one row, so it may be asked at every request."""
    return database.read(_revision)


def load_catalogue(database: Database) -> Catalogue:
    """Load what is offered. Of two offers of one name that which an engine brought last holds."""
    return database.read(_load, work_s=10.0)


def _revision(connection: Connection) -> str:
    value = connection.scalar(_REVISION)
    return str(value or 0)


def _load(connection: Connection) -> Catalogue:
    # The revision first: if the offers change in between, the next look finds a newer one.
    revision = _revision(connection)
    algorithms = {
        offer.name: offer
        for offer in map(_algorithm_decoder.decode, _offers(connection, tables.algorithms))
    }
    executors: dict[str, ExecutorOffer] = {}
    data_types: dict[str, str] = {}
    for offer in map(_executor_decoder.decode, _offers(connection, tables.executors)):
        executors[offer.name] = offer
        for label in offer.data_types:
            data_types[label] = offer.name
    return Catalogue(revision, algorithms, executors, data_types)


def _offers(connection: Connection, table: sa.Table) -> list[str]:
    query = sa.select(table.c.offer).order_by(table.c.offered_in, table.c.engine_id, table.c.name)
    return list(connection.scalars(query))
