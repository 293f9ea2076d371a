"""Read whole tables through a named database connection.

SQLAlchemy speaks every dialect and quotes the names; it is used for users' databases here, never
for the engine's own, which workers do not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from executors.runtime.errors import InvalidInputError

if TYPE_CHECKING:
    from sqlalchemy import Engine, Inspector

PORTION_ROWS = 10_000


def open_connection(name: str, settings: dict[str, Any]) -> SqlConnection:
    """Make a reader from settings: `url`, or the parts of one (`drivername`, `host`, …)."""
    import sqlalchemy as sa

    try:
        has_url = "url" in settings
        url = sa.make_url(str(settings["url"])) if has_url else sa.URL.create(**settings)
        engine = sa.create_engine(url, poolclass=sa.NullPool)
    except (sa.exc.ArgumentError, TypeError, ImportError) as error:
        raise InvalidInputError(
            f"The settings of connection {name!r} are not understood: {error}.",
            "Give `url` (such as mysql+pymysql://user:password@host/database) in the "
            "configuration.",
        ) from error
    return SqlConnection(name, engine)


class SqlConnection:
    """What `context.connection` returns; see `algorithms.base.Connection`."""

    def __init__(self, name: str, engine: Engine) -> None:
        self._name = name
        self._engine = engine

    def tables(self) -> list[str]:
        """List the tables and views that there are."""
        inspector = self._inspect()
        return sorted([*inspector.get_table_names(), *inspector.get_view_names()])

    def columns(self, table: str) -> list[str]:
        """List the columns of a table that is there."""
        found = self.tables()
        if table not in found:
            shown = ", ".join(found[:20]) or "(none)"
            raise InvalidInputError(
                f"Connection {self._name!r} has no table {table!r}.", f"It has: {shown}."
            )
        return [str(column["name"]) for column in self._inspect().get_columns(table)]

    def read(
        self, table: str, columns: Sequence[str], limit: int | None
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield rows in portions; the names must be among those that the database itself lists."""
        import sqlalchemy as sa

        known = self.columns(table)
        unknown = [column for column in columns if column not in known]
        if unknown:
            raise InvalidInputError(
                f"Table {table!r} of connection {self._name!r} has no column {unknown[0]!r}.",
                f"It has: {', '.join(known)}.",
            )
        chosen: list[Any] = [sa.column(column) for column in columns]
        query: Any = sa.select(*chosen).select_from(sa.table(table))
        if limit is not None:
            query = query.limit(limit)
        try:
            with self._engine.connect().execution_options(
                stream_results=True, max_row_buffer=PORTION_ROWS
            ) as connection:
                for portion in connection.execute(query).partitions(PORTION_ROWS):
                    yield [tuple(row) for row in portion]
        except sa.exc.SQLAlchemyError as error:
            raise self._make_error(error) from error

    def _inspect(self) -> Inspector:
        import sqlalchemy as sa

        try:
            return sa.inspect(self._engine)
        except sa.exc.SQLAlchemyError as error:
            raise self._make_error(error) from error

    def _make_error(self, error: Exception) -> InvalidInputError:
        # The driver's own sentence: SQLAlchemy's would show the statement, which says no more.
        reason = getattr(error, "orig", None) or error
        return InvalidInputError(
            f"Connection {self._name!r} cannot be read: {reason}.",
            "Look at its settings, and whether the server is up: dagengine connections test NAME.",
        )
