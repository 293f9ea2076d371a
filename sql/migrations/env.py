"""Runs migrations as `dag_engine.storage.migrate` asks: on a connection, or written out as SQL."""

from alembic import context

from dag_engine.storage import tables

attributes = context.config.attributes
if context.is_offline_mode():
    context.configure(
        dialect_name=attributes["dialect"],
        output_buffer=attributes["buffer"],
        target_metadata=tables.metadata,
        literal_binds=True,
        transactional_ddl=False,
    )
else:
    context.configure(
        connection=attributes["connection"],
        version_table=attributes.get("version_table", "alembic_version"),
        target_metadata=tables.metadata,
        transactional_ddl=False,
    )
context.run_migrations()
