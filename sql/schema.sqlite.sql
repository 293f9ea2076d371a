-- The full schema for sqlite, made from sql/migrations by
-- `python -m dag_engine.storage.migrate`.
-- Do not edit: change the tables by a migration.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE dags (
    dag_id TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    name TEXT DEFAULT '' NOT NULL, 
    lookup TEXT, 
    current_version INTEGER DEFAULT '0' NOT NULL, 
    n_versions INTEGER DEFAULT '0' NOT NULL, 
    created_at TEXT NOT NULL, 
    updated_at TEXT NOT NULL, 
    deleted_at TEXT, 
    CONSTRAINT pk_dags PRIMARY KEY (dag_id), 
    CONSTRAINT uq_dags_namespace_lookup UNIQUE (namespace, lookup)
)
 STRICT;

CREATE INDEX ix_dags_listing ON dags (namespace, deleted_at, dag_id);

CREATE TABLE dag_versions (
    dag_id TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    digest TEXT NOT NULL, 
    name TEXT DEFAULT '' NOT NULL, 
    description TEXT, 
    media_type TEXT NOT NULL, 
    n_operators INTEGER DEFAULT '0' NOT NULL, 
    n_edges INTEGER DEFAULT '0' NOT NULL, 
    size_bytes INTEGER DEFAULT '0' NOT NULL, 
    created_by TEXT DEFAULT '' NOT NULL, 
    created_at TEXT NOT NULL, 
    CONSTRAINT pk_dag_versions PRIMARY KEY (dag_id, version), 
    CONSTRAINT fk_dag_versions_dag_id FOREIGN KEY(dag_id) REFERENCES dags (dag_id), 
    CONSTRAINT uq_dag_versions_dag_id_digest UNIQUE (dag_id, digest)
)
 STRICT;

CREATE TABLE dag_parts (
    dag_id TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    kind TEXT NOT NULL, 
    part INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    data BLOB NOT NULL, 
    CONSTRAINT pk_dag_parts PRIMARY KEY (dag_id, version, kind, part), 
    CONSTRAINT fk_dag_parts_dag_id_version FOREIGN KEY(dag_id, version) REFERENCES dag_versions (dag_id, version)
)
 STRICT;

CREATE TABLE operators (
    dag_id TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    idx INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    operator TEXT NOT NULL, 
    algorithm TEXT NOT NULL, 
    data_type TEXT DEFAULT '' NOT NULL, 
    family TEXT DEFAULT '' NOT NULL, 
    title TEXT DEFAULT '' NOT NULL, 
    CONSTRAINT pk_operators PRIMARY KEY (dag_id, version, idx)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_operators_algorithm ON operators (namespace, algorithm, dag_id, version);

CREATE TABLE edges (
    dag_id TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    idx INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    source TEXT NOT NULL, 
    source_port INTEGER NOT NULL, 
    target TEXT NOT NULL, 
    target_port INTEGER NOT NULL, 
    CONSTRAINT pk_edges PRIMARY KEY (dag_id, version, idx)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE runs (
    run_id TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    dag_id TEXT DEFAULT '' NOT NULL, 
    dag_version INTEGER DEFAULT '0' NOT NULL, 
    name TEXT DEFAULT '' NOT NULL, 
    state TEXT NOT NULL, 
    reason_code TEXT DEFAULT '' NOT NULL, 
    reason TEXT, 
    priority INTEGER DEFAULT '0' NOT NULL, 
    range_mode TEXT DEFAULT '' NOT NULL, 
    options TEXT, 
    base_run TEXT, 
    is_internal INTEGER DEFAULT '0' NOT NULL, 
    created_by TEXT DEFAULT '' NOT NULL, 
    n_tasks INTEGER DEFAULT '0' NOT NULL, 
    counts TEXT, 
    last_seq INTEGER DEFAULT '0' NOT NULL, 
    created_at TEXT NOT NULL, 
    consumed_at TEXT, 
    started_at TEXT, 
    ended_at TEXT, 
    CONSTRAINT pk_runs PRIMARY KEY (run_id)
)
 STRICT;

CREATE INDEX ix_runs_dag ON runs (namespace, dag_id, run_id);

CREATE INDEX ix_runs_listing ON runs (namespace, is_internal, run_id);

CREATE INDEX ix_runs_open ON runs (ended_at, consumed_at, run_id) WHERE ended_at IS NULL;

CREATE INDEX ix_runs_state ON runs (namespace, is_internal, state, run_id);

CREATE TABLE run_plans (
    run_id TEXT NOT NULL, 
    part INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    data BLOB NOT NULL, 
    CONSTRAINT pk_run_plans PRIMARY KEY (run_id, part)
)
 STRICT;

CREATE TABLE tasks (
    run_id TEXT NOT NULL, 
    idx INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    operator TEXT NOT NULL, 
    algorithm TEXT DEFAULT '' NOT NULL, 
    title TEXT DEFAULT '' NOT NULL, 
    executor TEXT DEFAULT '' NOT NULL, 
    queue TEXT DEFAULT '' NOT NULL, 
    fingerprint TEXT DEFAULT '' NOT NULL, 
    state TEXT NOT NULL, 
    reason_code TEXT DEFAULT '' NOT NULL, 
    reason TEXT, 
    attempt INTEGER DEFAULT '0' NOT NULL, 
    engine_id TEXT, 
    n_failures INTEGER DEFAULT '0' NOT NULL, 
    n_losses INTEGER DEFAULT '0' NOT NULL, 
    not_before TEXT, 
    started_at TEXT, 
    ended_at TEXT, 
    progress TEXT, 
    metrics TEXT, 
    CONSTRAINT pk_tasks PRIMARY KEY (run_id, idx), 
    CONSTRAINT uq_tasks_run_id_operator UNIQUE (run_id, operator)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_tasks_fingerprint ON tasks (fingerprint, namespace, run_id, idx);

CREATE TABLE attempts (
    run_id TEXT NOT NULL, 
    idx INTEGER NOT NULL, 
    attempt INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    state TEXT NOT NULL, 
    engine_id TEXT DEFAULT '' NOT NULL, 
    reason_code TEXT DEFAULT '' NOT NULL, 
    message TEXT, 
    hint TEXT, 
    traceback TEXT, 
    queued_at TEXT, 
    started_at TEXT, 
    ended_at TEXT, 
    exit_code INTEGER, 
    exit_signal INTEGER, 
    worker TEXT DEFAULT '' NOT NULL, 
    log_bytes INTEGER DEFAULT '0' NOT NULL, 
    CONSTRAINT pk_attempts PRIMARY KEY (run_id, idx, attempt)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE artifacts (
    run_id TEXT NOT NULL, 
    idx INTEGER NOT NULL, 
    port INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    attempt INTEGER NOT NULL, 
    type TEXT NOT NULL, 
    sha256 TEXT DEFAULT '' NOT NULL, 
    size_bytes INTEGER DEFAULT '0' NOT NULL, 
    ref TEXT NOT NULL, 
    CONSTRAINT pk_artifacts PRIMARY KEY (run_id, idx, port)
)
 STRICT;

CREATE TABLE events (
    run_id TEXT NOT NULL, 
    seq INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    at TEXT NOT NULL, 
    kind TEXT NOT NULL, 
    operator TEXT, 
    attempt INTEGER DEFAULT '0' NOT NULL, 
    from_state TEXT DEFAULT '' NOT NULL, 
    to_state TEXT DEFAULT '' NOT NULL, 
    reason_code TEXT DEFAULT '' NOT NULL, 
    reason TEXT, 
    CONSTRAINT pk_events PRIMARY KEY (run_id, seq)
)
 WITHOUT ROWID,
 STRICT;

CREATE TABLE commands (
    command_id INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    run_id TEXT NOT NULL, 
    kind TEXT NOT NULL, 
    operator TEXT, 
    created_by TEXT DEFAULT '' NOT NULL, 
    created_at TEXT NOT NULL, 
    consumed_at TEXT, 
    result TEXT DEFAULT '' NOT NULL, 
    CONSTRAINT pk_commands PRIMARY KEY (command_id)
)
 STRICT;

CREATE INDEX ix_commands_open ON commands (consumed_at, command_id) WHERE consumed_at IS NULL;

CREATE INDEX ix_commands_run ON commands (run_id, command_id);

CREATE TABLE stale_reports (
    report_id INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    attempt_id TEXT NOT NULL, 
    verdict TEXT NOT NULL, 
    outcome TEXT NOT NULL, 
    received_at TEXT NOT NULL, 
    CONSTRAINT pk_stale_reports PRIMARY KEY (report_id)
)
 STRICT;

CREATE INDEX ix_stale_reports_attempt ON stale_reports (attempt_id);

CREATE TABLE datasets (
    namespace TEXT NOT NULL, 
    dataset_id TEXT NOT NULL, 
    name TEXT DEFAULT '' NOT NULL, 
    latest_version INTEGER DEFAULT '0' NOT NULL, 
    n_versions INTEGER DEFAULT '0' NOT NULL, 
    created_at TEXT NOT NULL, 
    updated_at TEXT NOT NULL, 
    CONSTRAINT pk_datasets PRIMARY KEY (namespace, dataset_id)
)
 STRICT;

CREATE TABLE dataset_versions (
    namespace TEXT NOT NULL, 
    dataset_id TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    uri TEXT NOT NULL, 
    format TEXT DEFAULT '' NOT NULL, 
    filename TEXT DEFAULT '' NOT NULL, 
    sha256 TEXT DEFAULT '' NOT NULL, 
    size_bytes INTEGER DEFAULT '0' NOT NULL, 
    options TEXT NOT NULL, 
    is_in_place INTEGER DEFAULT '0' NOT NULL, 
    row_count INTEGER, 
    schema_json TEXT, 
    preview_json TEXT, 
    inspection TEXT DEFAULT '' NOT NULL, 
    inspection_error TEXT, 
    created_by TEXT DEFAULT '' NOT NULL, 
    created_at TEXT NOT NULL, 
    CONSTRAINT pk_dataset_versions PRIMARY KEY (namespace, dataset_id, version), 
    CONSTRAINT fk_dataset_versions_namespace_dataset_id FOREIGN KEY(namespace, dataset_id) REFERENCES datasets (namespace, dataset_id)
)
 STRICT;

CREATE TABLE operator_engines (
    engine_id TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    incarnation TEXT NOT NULL, 
    url TEXT DEFAULT '' NOT NULL, 
    host TEXT DEFAULT '' NOT NULL, 
    version TEXT DEFAULT '' NOT NULL, 
    slots INTEGER DEFAULT '0' NOT NULL, 
    registration TEXT NOT NULL, 
    catalogue_digest TEXT DEFAULT '' NOT NULL, 
    is_alive INTEGER DEFAULT '0' NOT NULL, 
    registered_at TEXT NOT NULL, 
    heartbeat_at TEXT, 
    deregistered_at TEXT, 
    CONSTRAINT pk_operator_engines PRIMARY KEY (engine_id)
)
 STRICT;

CREATE TABLE algorithms (
    engine_id TEXT NOT NULL, 
    name TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    code_version TEXT DEFAULT '' NOT NULL, 
    offer TEXT NOT NULL, 
    offered_in INTEGER NOT NULL, 
    CONSTRAINT pk_algorithms PRIMARY KEY (engine_id, name), 
    CONSTRAINT fk_algorithms_engine_id FOREIGN KEY(engine_id) REFERENCES operator_engines (engine_id)
)
 STRICT;

CREATE TABLE executors (
    engine_id TEXT NOT NULL, 
    name TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    offer TEXT NOT NULL, 
    offered_in INTEGER NOT NULL, 
    CONSTRAINT pk_executors PRIMARY KEY (engine_id, name), 
    CONSTRAINT fk_executors_engine_id FOREIGN KEY(engine_id) REFERENCES operator_engines (engine_id)
)
 STRICT;

CREATE TABLE leader (
    seat INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    epoch INTEGER DEFAULT '0' NOT NULL, 
    batch INTEGER DEFAULT '0' NOT NULL, 
    catalogue_revision INTEGER DEFAULT '0' NOT NULL, 
    holder TEXT DEFAULT '' NOT NULL, 
    url TEXT DEFAULT '' NOT NULL, 
    lease_until TEXT NOT NULL, 
    connection_id INTEGER DEFAULT '0' NOT NULL, 
    host TEXT DEFAULT '' NOT NULL, 
    pid INTEGER DEFAULT '0' NOT NULL, 
    process_started INTEGER DEFAULT '0' NOT NULL, 
    CONSTRAINT pk_leader PRIMARY KEY (seat)
)
 STRICT;

CREATE TABLE components (
    kind TEXT NOT NULL, 
    instance TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    host TEXT DEFAULT '' NOT NULL, 
    pid INTEGER DEFAULT '0' NOT NULL, 
    version TEXT DEFAULT '' NOT NULL, 
    detail TEXT, 
    started_at TEXT NOT NULL, 
    heartbeat_at TEXT NOT NULL, 
    CONSTRAINT pk_components PRIMARY KEY (kind, instance)
)
 STRICT;

CREATE TABLE idempotency_keys (
    namespace TEXT NOT NULL, 
    idempotency_key TEXT NOT NULL, 
    operation TEXT NOT NULL, 
    body_digest TEXT NOT NULL, 
    subject TEXT DEFAULT '' NOT NULL, 
    answer TEXT, 
    created_at TEXT NOT NULL, 
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (namespace, idempotency_key)
)
 STRICT;

CREATE INDEX ix_idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE tokens (
    token_id TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    token_hash TEXT NOT NULL, 
    name TEXT DEFAULT '' NOT NULL, 
    role TEXT NOT NULL, 
    created_at TEXT NOT NULL, 
    expires_at TEXT, 
    revoked_at TEXT, 
    CONSTRAINT pk_tokens PRIMARY KEY (token_id), 
    CONSTRAINT uq_tokens_token_hash UNIQUE (token_hash)
)
 STRICT;

INSERT INTO alembic_version (version_num) VALUES ('0001') RETURNING version_num;

-- Running upgrade 0001 -> 0002

CREATE TABLE secrets (
    namespace TEXT NOT NULL, 
    kind TEXT NOT NULL, 
    name TEXT NOT NULL, 
    key_id TEXT NOT NULL, 
    sealed BLOB NOT NULL, 
    created_by TEXT DEFAULT '' NOT NULL, 
    created_at TEXT NOT NULL, 
    updated_at TEXT NOT NULL, 
    CONSTRAINT pk_secrets PRIMARY KEY (namespace, kind, name)
)
 STRICT;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE run_expiries (
    run_id TEXT NOT NULL, 
    kind TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    expired_at TEXT NOT NULL, 
    purged_at TEXT, 
    CONSTRAINT pk_run_expiries PRIMARY KEY (run_id, kind)
)
 STRICT;

CREATE INDEX ix_run_expiries_open ON run_expiries (purged_at, run_id);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

CREATE INDEX ix_runs_dag_state ON runs (namespace, is_internal, dag_id, state, run_id);

DROP INDEX ix_runs_dag;

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

CREATE TABLE cache_entries (
    namespace TEXT NOT NULL, 
    cache_key TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    idx INTEGER NOT NULL, 
    attempt INTEGER NOT NULL, 
    made_at TEXT NOT NULL, 
    CONSTRAINT pk_cache_entries PRIMARY KEY (namespace, cache_key)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_cache_entries_run ON cache_entries (run_id);

CREATE TABLE cache_findings (
    run_id TEXT NOT NULL, 
    idx INTEGER NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    verdict TEXT NOT NULL, 
    source_run TEXT NOT NULL, 
    source_idx INTEGER NOT NULL, 
    source_attempt INTEGER NOT NULL, 
    detail TEXT, 
    CONSTRAINT pk_cache_findings PRIMARY KEY (run_id, idx)
)
 STRICT;

CREATE TABLE run_needs (
    run_id TEXT NOT NULL, 
    source_run TEXT NOT NULL, 
    namespace TEXT DEFAULT 'default' NOT NULL, 
    CONSTRAINT pk_run_needs PRIMARY KEY (run_id, source_run)
)
 WITHOUT ROWID,
 STRICT;

CREATE INDEX ix_run_needs_source ON run_needs (source_run, run_id);

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';
