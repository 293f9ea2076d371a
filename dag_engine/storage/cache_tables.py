"""The tables of former results that stand in for equal work."""

from __future__ import annotations

import sqlalchemy as sa

from dag_engine.storage.column_types import Moment, integer, text, word
from dag_engine.storage.table_parts import (
    CLUSTERED,
    ROWID,
    key,
    metadata,
    namespace,
    needed,
    optional,
)

# What made the newest result that is known by a key.
cache_entries = sa.Table(
    "cache_entries",
    metadata,
    key("namespace", word(64)),
    key("cache_key", word(64)),
    needed("run_id", word(20)),
    needed("idx", integer()),
    needed("attempt", integer()),
    needed("made_at", Moment()),
    sa.Index("ix_cache_entries_run", "run_id"),
    **CLUSTERED,
)

# What a task's look for a former result found.
cache_findings = sa.Table(
    "cache_findings",
    metadata,
    key("run_id", word(20)),
    key("idx", integer()),
    namespace(),
    needed("verdict", word(16)),
    needed("source_run", word(20)),
    needed("source_idx", integer()),
    needed("source_attempt", integer()),
    optional("detail", text()),
    **ROWID,
)

# Whose results a run stands on: by its range, written as it is accepted, or by the cache, written
# before a former result is used, so that it stays.
run_needs = sa.Table(
    "run_needs",
    metadata,
    key("run_id", word(20)),
    key("source_run", word(20)),
    namespace(),
    sa.Index("ix_run_needs_source", "source_run", "run_id"),
    **CLUSTERED,
)
