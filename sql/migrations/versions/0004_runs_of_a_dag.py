"""The runs of a DAG are found by their state, too.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        columns = ["namespace", "is_internal", "dag_id", "state", "run_id"]
        op.create_index("ix_runs_dag_state", "runs", columns)
        op.drop_index("ix_runs_dag", "runs")
    else:  # no transaction holds two statements together there
        op.execute(
            "ALTER TABLE runs DROP INDEX ix_runs_dag, "
            "ADD INDEX ix_runs_dag_state (namespace, is_internal, dag_id, state, run_id)"
        )


def downgrade() -> None:
    op.create_index("ix_runs_dag", "runs", ["namespace", "dag_id", "run_id"])
    op.drop_index("ix_runs_dag_state", "runs")
