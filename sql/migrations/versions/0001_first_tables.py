"""The first tables.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from dag_engine.storage.column_types import Moment, blob, flag, integer, text, word

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ROWID: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "sqlite_strict": True,
}
_CLUSTERED: dict[str, Any] = {**_ROWID, "sqlite_with_rowid": False}


def upgrade() -> None:
    _create_definitions()
    _create_runs()
    _create_history()
    _create_datasets()
    _create_engines()
    _create_service()


def downgrade() -> None:
    raise NotImplementedError("Restore a backup: the first tables cannot be taken back.")


def _create_definitions() -> None:
    op.create_table(
        "dags",
        sa.Column("dag_id", word(20), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("name", word(255), nullable=False, server_default=""),
        sa.Column("lookup", word(64), nullable=True),
        sa.Column("current_version", integer(), nullable=False, server_default="0"),
        sa.Column("n_versions", integer(), nullable=False, server_default="0"),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.Column("deleted_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("dag_id", name=op.f("pk_dags")),
        sa.UniqueConstraint("namespace", "lookup", name=op.f("uq_dags_namespace_lookup")),
        **_ROWID,
    )
    op.create_index("ix_dags_listing", "dags", ["namespace", "deleted_at", "dag_id"])
    op.create_table(
        "dag_versions",
        sa.Column("dag_id", word(20), autoincrement=False, nullable=False),
        sa.Column("version", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("digest", word(64), nullable=False),
        sa.Column("name", word(255), nullable=False, server_default=""),
        sa.Column("description", text(), nullable=True),
        sa.Column("media_type", word(64), nullable=False),
        sa.Column("n_operators", integer(), nullable=False, server_default="0"),
        sa.Column("n_edges", integer(), nullable=False, server_default="0"),
        sa.Column("size_bytes", integer(), nullable=False, server_default="0"),
        sa.Column("created_by", word(128), nullable=False, server_default=""),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "version", name=op.f("pk_dag_versions")),
        sa.ForeignKeyConstraint(["dag_id"], ["dags.dag_id"], name=op.f("fk_dag_versions_dag_id")),
        sa.UniqueConstraint("dag_id", "digest", name=op.f("uq_dag_versions_dag_id_digest")),
        **_ROWID,
    )
    op.create_table(
        "dag_parts",
        sa.Column("dag_id", word(20), autoincrement=False, nullable=False),
        sa.Column("version", integer(), autoincrement=False, nullable=False),
        sa.Column("kind", word(16), autoincrement=False, nullable=False),
        sa.Column("part", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("data", blob(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "version", "kind", "part", name=op.f("pk_dag_parts")),
        sa.ForeignKeyConstraint(
            ["dag_id", "version"],
            ["dag_versions.dag_id", "dag_versions.version"],
            name=op.f("fk_dag_parts_dag_id_version"),
        ),
        **_ROWID,
    )
    op.create_table(
        "operators",
        sa.Column("dag_id", word(20), autoincrement=False, nullable=False),
        sa.Column("version", integer(), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("operator", word(128), nullable=False),
        sa.Column("algorithm", word(191), nullable=False),
        sa.Column("data_type", word(191), nullable=False, server_default=""),
        sa.Column("family", word(255), nullable=False, server_default=""),
        sa.Column("title", word(255), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("dag_id", "version", "idx", name=op.f("pk_operators")),
        **_CLUSTERED,
    )
    op.create_index(
        "ix_operators_algorithm", "operators", ["namespace", "algorithm", "dag_id", "version"]
    )
    op.create_table(
        "edges",
        sa.Column("dag_id", word(20), autoincrement=False, nullable=False),
        sa.Column("version", integer(), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("source", word(128), nullable=False),
        sa.Column("source_port", integer(), nullable=False),
        sa.Column("target", word(128), nullable=False),
        sa.Column("target_port", integer(), nullable=False),
        sa.PrimaryKeyConstraint("dag_id", "version", "idx", name=op.f("pk_edges")),
        **_CLUSTERED,
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("dag_id", word(20), nullable=False, server_default=""),
        sa.Column("dag_version", integer(), nullable=False, server_default="0"),
        sa.Column("name", word(255), nullable=False, server_default=""),
        sa.Column("state", word(16), nullable=False),
        sa.Column("reason_code", word(32), nullable=False, server_default=""),
        sa.Column("reason", text(), nullable=True),
        sa.Column("priority", integer(), nullable=False, server_default="0"),
        sa.Column("range_mode", word(16), nullable=False, server_default=""),
        sa.Column("options", text(), nullable=True),
        sa.Column("base_run", word(20), nullable=True),
        sa.Column("is_internal", flag(), nullable=False, server_default="0"),
        sa.Column("created_by", word(128), nullable=False, server_default=""),
        sa.Column("n_tasks", integer(), nullable=False, server_default="0"),
        sa.Column("counts", text(), nullable=True),
        sa.Column("last_seq", integer(), nullable=False, server_default="0"),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("consumed_at", Moment(), nullable=True),
        sa.Column("started_at", Moment(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
        **_ROWID,
    )
    op.create_index("ix_runs_dag", "runs", ["namespace", "dag_id", "run_id"])
    op.create_index("ix_runs_listing", "runs", ["namespace", "is_internal", "run_id"])
    op.create_index(
        "ix_runs_open",
        "runs",
        ["ended_at", "consumed_at", "run_id"],
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_runs_state", "runs", ["namespace", "is_internal", "state", "run_id"])
    op.create_table(
        "run_plans",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("part", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("data", blob(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "part", name=op.f("pk_run_plans")),
        **_ROWID,
    )
    op.create_table(
        "tasks",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("operator", word(128), nullable=False),
        sa.Column("algorithm", word(191), nullable=False, server_default=""),
        sa.Column("title", word(255), nullable=False, server_default=""),
        sa.Column("executor", word(128), nullable=False, server_default=""),
        sa.Column("queue", word(128), nullable=False, server_default=""),
        sa.Column("fingerprint", word(64), nullable=False, server_default=""),
        sa.Column("state", word(16), nullable=False),
        sa.Column("reason_code", word(32), nullable=False, server_default=""),
        sa.Column("reason", text(), nullable=True),
        sa.Column("attempt", integer(), nullable=False, server_default="0"),
        sa.Column("engine_id", word(128), nullable=True),
        sa.Column("n_failures", integer(), nullable=False, server_default="0"),
        sa.Column("n_losses", integer(), nullable=False, server_default="0"),
        sa.Column("not_before", Moment(), nullable=True),
        sa.Column("started_at", Moment(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("progress", text(), nullable=True),
        sa.Column("metrics", text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "idx", name=op.f("pk_tasks")),
        sa.UniqueConstraint("run_id", "operator", name=op.f("uq_tasks_run_id_operator")),
        **_CLUSTERED,
    )
    op.create_index("ix_tasks_fingerprint", "tasks", ["fingerprint", "namespace", "run_id", "idx"])


def _create_history() -> None:
    op.create_table(
        "attempts",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("state", word(16), nullable=False),
        sa.Column("engine_id", word(128), nullable=False, server_default=""),
        sa.Column("reason_code", word(32), nullable=False, server_default=""),
        sa.Column("message", text(), nullable=True),
        sa.Column("hint", text(), nullable=True),
        sa.Column("traceback", text(), nullable=True),
        sa.Column("queued_at", Moment(), nullable=True),
        sa.Column("started_at", Moment(), nullable=True),
        sa.Column("ended_at", Moment(), nullable=True),
        sa.Column("exit_code", integer(), nullable=True),
        sa.Column("exit_signal", integer(), nullable=True),
        sa.Column("worker", word(255), nullable=False, server_default=""),
        sa.Column("log_bytes", integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("run_id", "idx", "attempt", name=op.f("pk_attempts")),
        **_CLUSTERED,
    )
    op.create_table(
        "artifacts",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("idx", integer(), autoincrement=False, nullable=False),
        sa.Column("port", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("attempt", integer(), nullable=False),
        sa.Column("type", word(32), nullable=False),
        sa.Column("sha256", word(64), nullable=False, server_default=""),
        sa.Column("size_bytes", integer(), nullable=False, server_default="0"),
        sa.Column("ref", text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "idx", "port", name=op.f("pk_artifacts")),
        **_ROWID,
    )
    op.create_table(
        "events",
        sa.Column("run_id", word(20), autoincrement=False, nullable=False),
        sa.Column("seq", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("kind", word(32), nullable=False),
        sa.Column("operator", word(128), nullable=True),
        sa.Column("attempt", integer(), nullable=False, server_default="0"),
        sa.Column("from_state", word(16), nullable=False, server_default=""),
        sa.Column("to_state", word(16), nullable=False, server_default=""),
        sa.Column("reason_code", word(32), nullable=False, server_default=""),
        sa.Column("reason", text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_events")),
        **_CLUSTERED,
    )
    op.create_table(
        "commands",
        sa.Column("command_id", integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("run_id", word(20), nullable=False),
        sa.Column("kind", word(16), nullable=False),
        sa.Column("operator", word(128), nullable=True),
        sa.Column("created_by", word(128), nullable=False, server_default=""),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("consumed_at", Moment(), nullable=True),
        sa.Column("result", word(16), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_commands")),
        **_ROWID,
    )
    op.create_index(
        "ix_commands_open",
        "commands",
        ["consumed_at", "command_id"],
        sqlite_where=sa.text("consumed_at IS NULL"),
    )
    op.create_index("ix_commands_run", "commands", ["run_id", "command_id"])
    op.create_table(
        "stale_reports",
        sa.Column("report_id", integer(), autoincrement=True, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("attempt_id", word(64), nullable=False),
        sa.Column("verdict", word(16), nullable=False),
        sa.Column("outcome", text(), nullable=False),
        sa.Column("received_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("report_id", name=op.f("pk_stale_reports")),
        **_ROWID,
    )
    op.create_index("ix_stale_reports_attempt", "stale_reports", ["attempt_id"])


def _create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("namespace", word(64), autoincrement=False, nullable=False),
        sa.Column("dataset_id", word(191), autoincrement=False, nullable=False),
        sa.Column("name", word(255), nullable=False, server_default=""),
        sa.Column("latest_version", integer(), nullable=False, server_default="0"),
        sa.Column("n_versions", integer(), nullable=False, server_default="0"),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("updated_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "dataset_id", name=op.f("pk_datasets")),
        **_ROWID,
    )
    op.create_table(
        "dataset_versions",
        sa.Column("namespace", word(64), autoincrement=False, nullable=False),
        sa.Column("dataset_id", word(191), autoincrement=False, nullable=False),
        sa.Column("version", integer(), autoincrement=False, nullable=False),
        sa.Column("uri", text(), nullable=False),
        sa.Column("format", word(32), nullable=False, server_default=""),
        sa.Column("filename", word(255), nullable=False, server_default=""),
        sa.Column("sha256", word(64), nullable=False, server_default=""),
        sa.Column("size_bytes", integer(), nullable=False, server_default="0"),
        sa.Column("options", text(), nullable=False),
        sa.Column("is_in_place", flag(), nullable=False, server_default="0"),
        sa.Column("row_count", integer(), nullable=True),
        sa.Column("schema_json", text(), nullable=True),
        sa.Column("preview_json", text(), nullable=True),
        sa.Column("inspection", word(16), nullable=False, server_default=""),
        sa.Column("inspection_error", text(), nullable=True),
        sa.Column("created_by", word(128), nullable=False, server_default=""),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint(
            "namespace", "dataset_id", "version", name=op.f("pk_dataset_versions")
        ),
        sa.ForeignKeyConstraint(
            ["namespace", "dataset_id"],
            ["datasets.namespace", "datasets.dataset_id"],
            name=op.f("fk_dataset_versions_namespace_dataset_id"),
        ),
        **_ROWID,
    )


def _create_engines() -> None:
    op.create_table(
        "operator_engines",
        sa.Column("engine_id", word(128), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("incarnation", word(128), nullable=False),
        sa.Column("url", word(255), nullable=False, server_default=""),
        sa.Column("host", word(255), nullable=False, server_default=""),
        sa.Column("version", word(64), nullable=False, server_default=""),
        sa.Column("slots", integer(), nullable=False, server_default="0"),
        sa.Column("registration", text(), nullable=False),
        sa.Column("catalogue_digest", word(128), nullable=False, server_default=""),
        sa.Column("is_alive", flag(), nullable=False, server_default="0"),
        sa.Column("registered_at", Moment(), nullable=False),
        sa.Column("heartbeat_at", Moment(), nullable=True),
        sa.Column("deregistered_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("engine_id", name=op.f("pk_operator_engines")),
        **_ROWID,
    )
    op.create_table(
        "algorithms",
        sa.Column("engine_id", word(128), autoincrement=False, nullable=False),
        sa.Column("name", word(191), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("code_version", word(191), nullable=False, server_default=""),
        sa.Column("offer", text(), nullable=False),
        sa.Column("offered_in", integer(), nullable=False),
        sa.PrimaryKeyConstraint("engine_id", "name", name=op.f("pk_algorithms")),
        sa.ForeignKeyConstraint(
            ["engine_id"], ["operator_engines.engine_id"], name=op.f("fk_algorithms_engine_id")
        ),
        **_ROWID,
    )
    op.create_table(
        "executors",
        sa.Column("engine_id", word(128), autoincrement=False, nullable=False),
        sa.Column("name", word(128), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("offer", text(), nullable=False),
        sa.Column("offered_in", integer(), nullable=False),
        sa.PrimaryKeyConstraint("engine_id", "name", name=op.f("pk_executors")),
        sa.ForeignKeyConstraint(
            ["engine_id"], ["operator_engines.engine_id"], name=op.f("fk_executors_engine_id")
        ),
        **_ROWID,
    )


def _create_service() -> None:
    op.create_table(
        "leader",
        sa.Column("seat", integer(), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("epoch", integer(), nullable=False, server_default="0"),
        sa.Column("batch", integer(), nullable=False, server_default="0"),
        sa.Column("catalogue_revision", integer(), nullable=False, server_default="0"),
        sa.Column("holder", word(191), nullable=False, server_default=""),
        sa.Column("url", word(255), nullable=False, server_default=""),
        sa.Column("lease_until", Moment(), nullable=False),
        sa.Column("connection_id", integer(), nullable=False, server_default="0"),
        sa.Column("host", word(255), nullable=False, server_default=""),
        sa.Column("pid", integer(), nullable=False, server_default="0"),
        sa.Column("process_started", integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("seat", name=op.f("pk_leader")),
        **_ROWID,
    )
    op.create_table(
        "components",
        sa.Column("kind", word(32), autoincrement=False, nullable=False),
        sa.Column("instance", word(191), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("host", word(255), nullable=False, server_default=""),
        sa.Column("pid", integer(), nullable=False, server_default="0"),
        sa.Column("version", word(64), nullable=False, server_default=""),
        sa.Column("detail", text(), nullable=True),
        sa.Column("started_at", Moment(), nullable=False),
        sa.Column("heartbeat_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "instance", name=op.f("pk_components")),
        **_ROWID,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("namespace", word(64), autoincrement=False, nullable=False),
        sa.Column("idempotency_key", word(191), autoincrement=False, nullable=False),
        sa.Column("operation", word(64), nullable=False),
        sa.Column("body_digest", word(64), nullable=False),
        sa.Column("subject", word(191), nullable=False, server_default=""),
        sa.Column("answer", text(), nullable=True),
        sa.Column("created_at", Moment(), nullable=False),
        sa.PrimaryKeyConstraint("namespace", "idempotency_key", name=op.f("pk_idempotency_keys")),
        **_ROWID,
    )
    op.create_index("ix_idempotency_keys_age", "idempotency_keys", ["created_at"])
    op.create_table(
        "tokens",
        sa.Column("token_id", word(20), autoincrement=False, nullable=False),
        sa.Column("namespace", word(64), nullable=False, server_default="default"),
        sa.Column("token_hash", word(64), nullable=False),
        sa.Column("name", word(191), nullable=False, server_default=""),
        sa.Column("role", word(16), nullable=False),
        sa.Column("created_at", Moment(), nullable=False),
        sa.Column("expires_at", Moment(), nullable=True),
        sa.Column("revoked_at", Moment(), nullable=True),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_tokens_token_hash")),
        **_ROWID,
    )
