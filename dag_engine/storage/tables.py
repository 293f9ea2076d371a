"""The tables, as SQLAlchemy Core objects.

Every table bears its namespace. Text is compared binary (utf8mb4_bin; SQLite's own default).
Rows below a run have no foreign key to it: they are written with it in one transaction, and a
checked key would take a lock on the run's row for every row that the scheduler writes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from dag_engine.storage import cache_tables, table_parts
from dag_engine.storage.column_types import Moment, blob, integer, text, word

metadata = table_parts.metadata
cache_entries = cache_tables.cache_entries
cache_findings = cache_tables.cache_findings
run_needs = cache_tables.run_needs
_ROWID, _CLUSTERED = table_parts.ROWID, table_parts.CLUSTERED
_key, _needed, _short = table_parts.key, table_parts.needed, table_parts.short
_count, _flag, _optional = table_parts.count, table_parts.truth, table_parts.optional
_namespace = table_parts.namespace

# --- definitions ----------------------------------------------------------------------------------

dags = sa.Table(
    "dags",
    metadata,
    _key("dag_id", word(20)),
    _namespace(),
    _short("name", 255),
    # What a post finds the dag by: the digest of its name, else of its content. NULL once deleted.
    _optional("lookup", word(64)),
    _count("current_version"),
    _count("n_versions"),
    _needed("created_at", Moment()),
    _needed("updated_at", Moment()),
    _optional("deleted_at", Moment()),
    sa.UniqueConstraint("namespace", "lookup"),
    sa.Index("ix_dags_listing", "namespace", "deleted_at", "dag_id"),
    **_ROWID,
)

dag_versions = sa.Table(
    "dag_versions",
    metadata,
    _key("dag_id", word(20)),
    _key("version", integer()),
    _namespace(),
    _needed("digest", word(64)),
    _short("name", 255),
    _optional("description", text()),
    _needed("media_type", word(64)),
    _count("n_operators"),
    _count("n_edges"),
    _count("size_bytes"),
    _short("created_by", 128),
    _needed("created_at", Moment()),
    sa.ForeignKeyConstraint(["dag_id"], ["dags.dag_id"]),
    sa.UniqueConstraint("dag_id", "digest"),
    **_ROWID,
)

dag_parts = sa.Table(
    "dag_parts",
    metadata,
    _key("dag_id", word(20)),
    _key("version", integer()),
    _key("kind", word(16)),
    _key("part", integer()),
    _namespace(),
    _needed("data", blob()),
    sa.ForeignKeyConstraint(["dag_id", "version"], ["dag_versions.dag_id", "dag_versions.version"]),
    **_ROWID,
)

operators = sa.Table(
    "operators",
    metadata,
    _key("dag_id", word(20)),
    _key("version", integer()),
    _key("idx", integer()),
    _namespace(),
    _needed("operator", word(128)),
    _needed("algorithm", word(191)),
    _short("data_type", 191),
    _short("family", 255),
    _short("title", 255),
    sa.Index("ix_operators_algorithm", "namespace", "algorithm", "dag_id", "version"),
    **_CLUSTERED,
)

edges = sa.Table(
    "edges",
    metadata,
    _key("dag_id", word(20)),
    _key("version", integer()),
    _key("idx", integer()),
    _namespace(),
    _needed("source", word(128)),
    _needed("source_port", integer()),
    _needed("target", word(128)),
    _needed("target_port", integer()),
    **_CLUSTERED,
)

# --- runs -----------------------------------------------------------------------------------------

runs = sa.Table(
    "runs",
    metadata,
    _key("run_id", word(20)),
    _namespace(),
    _short("dag_id", 20),
    _count("dag_version"),
    _short("name", 255),
    _needed("state", word(16)),
    _short("reason_code", 32),
    _optional("reason", text()),
    _count("priority"),
    _short("range_mode", 16),
    _optional("options", text()),
    _optional("base_run", word(20)),
    _flag("is_internal"),
    _short("created_by", 128),
    _count("n_tasks"),
    _optional("counts", text()),
    _count("last_seq"),
    _needed("created_at", Moment()),
    _optional("consumed_at", Moment()),
    _optional("started_at", Moment()),
    _optional("ended_at", Moment()),
    sa.Index("ix_runs_listing", "namespace", "is_internal", "run_id"),
    sa.Index("ix_runs_state", "namespace", "is_internal", "state", "run_id"),
    sa.Index("ix_runs_dag_state", "namespace", "is_internal", "dag_id", "state", "run_id"),
    sa.Index(
        "ix_runs_open",
        "ended_at",
        "consumed_at",
        "run_id",
        sqlite_where=sa.text("ended_at IS NULL"),
    ),
    **_ROWID,
)

run_plans = sa.Table(
    "run_plans",
    metadata,
    _key("run_id", word(20)),
    _key("part", integer()),
    _namespace(),
    _needed("data", blob()),
    **_ROWID,
)

tasks = sa.Table(
    "tasks",
    metadata,
    _key("run_id", word(20)),
    _key("idx", integer()),
    _namespace(),
    _needed("operator", word(128)),
    _short("algorithm", 191),
    _short("title", 255),
    _short("executor", 128),
    _short("queue", 128),
    _short("fingerprint", 64),
    _needed("state", word(16)),
    _short("reason_code", 32),
    _optional("reason", text()),
    _count("attempt"),
    _optional("engine_id", word(128)),
    _count("n_failures"),
    _count("n_losses"),
    _optional("not_before", Moment()),
    _optional("started_at", Moment()),
    _optional("ended_at", Moment()),
    _optional("progress", text()),
    _optional("metrics", text()),
    sa.UniqueConstraint("run_id", "operator"),
    sa.Index("ix_tasks_fingerprint", "fingerprint", "namespace", "run_id", "idx"),
    **_CLUSTERED,
)

attempts = sa.Table(
    "attempts",
    metadata,
    _key("run_id", word(20)),
    _key("idx", integer()),
    _key("attempt", integer()),
    _namespace(),
    _needed("state", word(16)),
    _short("engine_id", 128),
    _short("reason_code", 32),
    _optional("message", text()),
    _optional("hint", text()),
    _optional("traceback", text()),
    _optional("queued_at", Moment()),
    _optional("started_at", Moment()),
    _optional("ended_at", Moment()),
    _optional("exit_code", integer()),
    _optional("exit_signal", integer()),
    _short("worker", 255),
    _count("log_bytes"),
    **_CLUSTERED,
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    _key("run_id", word(20)),
    _key("idx", integer()),
    _key("port", integer()),
    _namespace(),
    _needed("attempt", integer()),
    _needed("type", word(32)),
    _short("sha256", 64),
    _count("size_bytes"),
    _needed("ref", text()),
    **_ROWID,
)

events = sa.Table(
    "events",
    metadata,
    _key("run_id", word(20)),
    _key("seq", integer()),
    _namespace(),
    _needed("at", Moment()),
    _needed("kind", word(32)),
    _optional("operator", word(128)),
    _count("attempt"),
    _short("from_state", 16),
    _short("to_state", 16),
    _short("reason_code", 32),
    _optional("reason", text()),
    **_CLUSTERED,
)

commands = sa.Table(
    "commands",
    metadata,
    sa.Column("command_id", integer(), primary_key=True, autoincrement=True),
    _namespace(),
    _needed("run_id", word(20)),
    _needed("kind", word(16)),
    _optional("operator", word(128)),
    _short("created_by", 128),
    _needed("created_at", Moment()),
    _optional("consumed_at", Moment()),
    _short("result", 16),
    sa.Index(
        "ix_commands_open", "consumed_at", "command_id", sqlite_where=sa.text("consumed_at IS NULL")
    ),
    sa.Index("ix_commands_run", "run_id", "command_id"),
    **_ROWID,
)

stale_reports = sa.Table(
    "stale_reports",
    metadata,
    sa.Column("report_id", integer(), primary_key=True, autoincrement=True),
    _namespace(),
    _needed("attempt_id", word(64)),
    _needed("verdict", word(16)),
    _needed("outcome", text()),
    _needed("received_at", Moment()),
    sa.Index("ix_stale_reports_attempt", "attempt_id"),
    **_ROWID,
)

run_expiries = sa.Table(
    "run_expiries",
    metadata,
    _key("run_id", word(20)),
    _key("kind", word(16)),
    _namespace(),
    _needed("expired_at", Moment()),
    _optional("purged_at", Moment()),
    sa.Index("ix_run_expiries_open", "purged_at", "run_id"),
    **_ROWID,
)

# --- data sets ------------------------------------------------------------------------------------

datasets = sa.Table(
    "datasets",
    metadata,
    _key("namespace", word(64)),
    _key("dataset_id", word(191)),
    _short("name", 255),
    _count("latest_version"),
    _count("n_versions"),
    _needed("created_at", Moment()),
    _needed("updated_at", Moment()),
    **_ROWID,
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    _key("namespace", word(64)),
    _key("dataset_id", word(191)),
    _key("version", integer()),
    _needed("uri", text()),
    _short("format", 32),
    _short("filename", 255),
    _short("sha256", 64),
    _count("size_bytes"),
    _needed("options", text()),
    _flag("is_in_place"),
    _optional("row_count", integer()),
    _optional("schema_json", text()),
    _optional("preview_json", text()),
    _short("inspection", 16),
    _optional("inspection_error", text()),
    _short("created_by", 128),
    _needed("created_at", Moment()),
    sa.ForeignKeyConstraint(
        ["namespace", "dataset_id"], ["datasets.namespace", "datasets.dataset_id"]
    ),
    **_ROWID,
)

# --- operator engines and what they offer ---------------------------------------------------------

operator_engines = sa.Table(
    "operator_engines",
    metadata,
    _key("engine_id", word(128)),
    _namespace(),
    _needed("incarnation", word(128)),
    _short("url", 255),
    _short("host", 255),
    _short("version", 64),
    _count("slots"),
    _needed("registration", text()),
    _short("catalogue_digest", 128),
    _flag("is_alive"),
    _needed("registered_at", Moment()),
    _optional("heartbeat_at", Moment()),
    _optional("deregistered_at", Moment()),
    **_ROWID,
)

algorithms = sa.Table(
    "algorithms",
    metadata,
    _key("engine_id", word(128)),
    _key("name", word(191)),
    _namespace(),
    _short("code_version", 191),
    _needed("offer", text()),
    # The catalogue's revision at which the engine offered it: of two, the higher one holds.
    _needed("offered_in", integer()),
    sa.ForeignKeyConstraint(["engine_id"], ["operator_engines.engine_id"]),
    **_ROWID,
)

executors = sa.Table(
    "executors",
    metadata,
    _key("engine_id", word(128)),
    _key("name", word(128)),
    _namespace(),
    _needed("offer", text()),
    _needed("offered_in", integer()),
    sa.ForeignKeyConstraint(["engine_id"], ["operator_engines.engine_id"]),
    **_ROWID,
)

# --- the service itself ---------------------------------------------------------------------------

leader = sa.Table(
    "leader",
    metadata,
    _key("seat", integer()),
    _namespace(),
    _count("epoch"),
    _count("batch"),
    _count("catalogue_revision"),
    _short("holder", 191),
    _short("url", 255),
    _needed("lease_until", Moment()),
    _count("connection_id"),
    _short("host", 255),
    _count("pid"),
    _count("process_started"),
    **_ROWID,
)

components = sa.Table(
    "components",
    metadata,
    _key("kind", word(32)),
    _key("instance", word(191)),
    _namespace(),
    _short("host", 255),
    _count("pid"),
    _short("version", 64),
    _optional("detail", text()),
    _needed("started_at", Moment()),
    _needed("heartbeat_at", Moment()),
    **_ROWID,
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    _key("namespace", word(64)),
    _key("idempotency_key", word(191)),
    _needed("operation", word(64)),
    _needed("body_digest", word(64)),
    _short("subject", 191),
    _optional("answer", text()),
    _needed("created_at", Moment()),
    sa.Index("ix_idempotency_keys_age", "created_at"),
    **_ROWID,
)

tokens = sa.Table(
    "tokens",
    metadata,
    _key("token_id", word(20)),
    _namespace(),
    _needed("token_hash", word(64)),
    _short("name", 191),
    _needed("role", word(16)),
    _needed("created_at", Moment()),
    _optional("expires_at", Moment()),
    _optional("revoked_at", Moment()),
    sa.UniqueConstraint("token_hash"),
    **_ROWID,
)

secrets = sa.Table(
    "secrets",
    metadata,
    _key("namespace", word(64)),
    _key("kind", word(16)),
    _key("name", word(128)),
    _needed("key_id", word(32)),
    _needed("sealed", blob()),
    _short("created_by", 128),
    _needed("created_at", Moment()),
    _needed("updated_at", Moment()),
    **_ROWID,
)


def columns(table: sa.Table, names: str) -> list[sa.Column[Any]]:
    """Look columns up by their names, in the order of the text."""
    return [table.c[name] for name in names.split()]
