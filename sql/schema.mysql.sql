-- The full schema for mysql, made from sql/migrations by
-- `python -m dag_engine.storage.migrate`.
-- Do not edit: change the tables by a migration.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> 0001

CREATE TABLE dags (
    dag_id VARCHAR(20) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    name VARCHAR(255) NOT NULL DEFAULT '', 
    lookup VARCHAR(64), 
    current_version BIGINT NOT NULL DEFAULT '0', 
    n_versions BIGINT NOT NULL DEFAULT '0', 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    deleted_at DATETIME(6), 
    CONSTRAINT pk_dags PRIMARY KEY (dag_id), 
    CONSTRAINT uq_dags_namespace_lookup UNIQUE (namespace, lookup)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_dags_listing ON dags (namespace, deleted_at, dag_id);

CREATE TABLE dag_versions (
    dag_id VARCHAR(20) NOT NULL, 
    version BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    digest VARCHAR(64) NOT NULL, 
    name VARCHAR(255) NOT NULL DEFAULT '', 
    description MEDIUMTEXT, 
    media_type VARCHAR(64) NOT NULL, 
    n_operators BIGINT NOT NULL DEFAULT '0', 
    n_edges BIGINT NOT NULL DEFAULT '0', 
    size_bytes BIGINT NOT NULL DEFAULT '0', 
    created_by VARCHAR(128) NOT NULL DEFAULT '', 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_dag_versions PRIMARY KEY (dag_id, version), 
    CONSTRAINT fk_dag_versions_dag_id FOREIGN KEY(dag_id) REFERENCES dags (dag_id), 
    CONSTRAINT uq_dag_versions_dag_id_digest UNIQUE (dag_id, digest)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE dag_parts (
    dag_id VARCHAR(20) NOT NULL, 
    version BIGINT NOT NULL, 
    kind VARCHAR(16) NOT NULL, 
    part BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    data MEDIUMBLOB NOT NULL, 
    CONSTRAINT pk_dag_parts PRIMARY KEY (dag_id, version, kind, part), 
    CONSTRAINT fk_dag_parts_dag_id_version FOREIGN KEY(dag_id, version) REFERENCES dag_versions (dag_id, version)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE operators (
    dag_id VARCHAR(20) NOT NULL, 
    version BIGINT NOT NULL, 
    idx BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    operator VARCHAR(128) NOT NULL, 
    algorithm VARCHAR(191) NOT NULL, 
    data_type VARCHAR(191) NOT NULL DEFAULT '', 
    family VARCHAR(255) NOT NULL DEFAULT '', 
    title VARCHAR(255) NOT NULL DEFAULT '', 
    CONSTRAINT pk_operators PRIMARY KEY (dag_id, version, idx)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_operators_algorithm ON operators (namespace, algorithm, dag_id, version);

CREATE TABLE edges (
    dag_id VARCHAR(20) NOT NULL, 
    version BIGINT NOT NULL, 
    idx BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    source VARCHAR(128) NOT NULL, 
    source_port BIGINT NOT NULL, 
    target VARCHAR(128) NOT NULL, 
    target_port BIGINT NOT NULL, 
    CONSTRAINT pk_edges PRIMARY KEY (dag_id, version, idx)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE runs (
    run_id VARCHAR(20) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    dag_id VARCHAR(20) NOT NULL DEFAULT '', 
    dag_version BIGINT NOT NULL DEFAULT '0', 
    name VARCHAR(255) NOT NULL DEFAULT '', 
    state VARCHAR(16) NOT NULL, 
    reason_code VARCHAR(32) NOT NULL DEFAULT '', 
    reason MEDIUMTEXT, 
    priority BIGINT NOT NULL DEFAULT '0', 
    range_mode VARCHAR(16) NOT NULL DEFAULT '', 
    options MEDIUMTEXT, 
    base_run VARCHAR(20), 
    is_internal TINYINT NOT NULL DEFAULT '0', 
    created_by VARCHAR(128) NOT NULL DEFAULT '', 
    n_tasks BIGINT NOT NULL DEFAULT '0', 
    counts MEDIUMTEXT, 
    last_seq BIGINT NOT NULL DEFAULT '0', 
    created_at DATETIME(6) NOT NULL, 
    consumed_at DATETIME(6), 
    started_at DATETIME(6), 
    ended_at DATETIME(6), 
    CONSTRAINT pk_runs PRIMARY KEY (run_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_runs_dag ON runs (namespace, dag_id, run_id);

CREATE INDEX ix_runs_listing ON runs (namespace, is_internal, run_id);

CREATE INDEX ix_runs_open ON runs (ended_at, consumed_at, run_id);

CREATE INDEX ix_runs_state ON runs (namespace, is_internal, state, run_id);

CREATE TABLE run_plans (
    run_id VARCHAR(20) NOT NULL, 
    part BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    data MEDIUMBLOB NOT NULL, 
    CONSTRAINT pk_run_plans PRIMARY KEY (run_id, part)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE tasks (
    run_id VARCHAR(20) NOT NULL, 
    idx BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    operator VARCHAR(128) NOT NULL, 
    algorithm VARCHAR(191) NOT NULL DEFAULT '', 
    title VARCHAR(255) NOT NULL DEFAULT '', 
    executor VARCHAR(128) NOT NULL DEFAULT '', 
    queue VARCHAR(128) NOT NULL DEFAULT '', 
    fingerprint VARCHAR(64) NOT NULL DEFAULT '', 
    state VARCHAR(16) NOT NULL, 
    reason_code VARCHAR(32) NOT NULL DEFAULT '', 
    reason MEDIUMTEXT, 
    attempt BIGINT NOT NULL DEFAULT '0', 
    engine_id VARCHAR(128), 
    n_failures BIGINT NOT NULL DEFAULT '0', 
    n_losses BIGINT NOT NULL DEFAULT '0', 
    not_before DATETIME(6), 
    started_at DATETIME(6), 
    ended_at DATETIME(6), 
    progress MEDIUMTEXT, 
    metrics MEDIUMTEXT, 
    CONSTRAINT pk_tasks PRIMARY KEY (run_id, idx), 
    CONSTRAINT uq_tasks_run_id_operator UNIQUE (run_id, operator)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_tasks_fingerprint ON tasks (fingerprint, namespace, run_id, idx);

CREATE TABLE attempts (
    run_id VARCHAR(20) NOT NULL, 
    idx BIGINT NOT NULL, 
    attempt BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    state VARCHAR(16) NOT NULL, 
    engine_id VARCHAR(128) NOT NULL DEFAULT '', 
    reason_code VARCHAR(32) NOT NULL DEFAULT '', 
    message MEDIUMTEXT, 
    hint MEDIUMTEXT, 
    traceback MEDIUMTEXT, 
    queued_at DATETIME(6), 
    started_at DATETIME(6), 
    ended_at DATETIME(6), 
    exit_code BIGINT, 
    exit_signal BIGINT, 
    worker VARCHAR(255) NOT NULL DEFAULT '', 
    log_bytes BIGINT NOT NULL DEFAULT '0', 
    CONSTRAINT pk_attempts PRIMARY KEY (run_id, idx, attempt)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE artifacts (
    run_id VARCHAR(20) NOT NULL, 
    idx BIGINT NOT NULL, 
    port BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    attempt BIGINT NOT NULL, 
    type VARCHAR(32) NOT NULL, 
    sha256 VARCHAR(64) NOT NULL DEFAULT '', 
    size_bytes BIGINT NOT NULL DEFAULT '0', 
    ref MEDIUMTEXT NOT NULL, 
    CONSTRAINT pk_artifacts PRIMARY KEY (run_id, idx, port)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE events (
    run_id VARCHAR(20) NOT NULL, 
    seq BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    at DATETIME(6) NOT NULL, 
    kind VARCHAR(32) NOT NULL, 
    operator VARCHAR(128), 
    attempt BIGINT NOT NULL DEFAULT '0', 
    from_state VARCHAR(16) NOT NULL DEFAULT '', 
    to_state VARCHAR(16) NOT NULL DEFAULT '', 
    reason_code VARCHAR(32) NOT NULL DEFAULT '', 
    reason MEDIUMTEXT, 
    CONSTRAINT pk_events PRIMARY KEY (run_id, seq)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE commands (
    command_id BIGINT NOT NULL AUTO_INCREMENT, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    run_id VARCHAR(20) NOT NULL, 
    kind VARCHAR(16) NOT NULL, 
    operator VARCHAR(128), 
    created_by VARCHAR(128) NOT NULL DEFAULT '', 
    created_at DATETIME(6) NOT NULL, 
    consumed_at DATETIME(6), 
    result VARCHAR(16) NOT NULL DEFAULT '', 
    CONSTRAINT pk_commands PRIMARY KEY (command_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_commands_open ON commands (consumed_at, command_id);

CREATE INDEX ix_commands_run ON commands (run_id, command_id);

CREATE TABLE stale_reports (
    report_id BIGINT NOT NULL AUTO_INCREMENT, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    attempt_id VARCHAR(64) NOT NULL, 
    verdict VARCHAR(16) NOT NULL, 
    outcome MEDIUMTEXT NOT NULL, 
    received_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_stale_reports PRIMARY KEY (report_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_stale_reports_attempt ON stale_reports (attempt_id);

CREATE TABLE datasets (
    namespace VARCHAR(64) NOT NULL, 
    dataset_id VARCHAR(191) NOT NULL, 
    name VARCHAR(255) NOT NULL DEFAULT '', 
    latest_version BIGINT NOT NULL DEFAULT '0', 
    n_versions BIGINT NOT NULL DEFAULT '0', 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_datasets PRIMARY KEY (namespace, dataset_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE dataset_versions (
    namespace VARCHAR(64) NOT NULL, 
    dataset_id VARCHAR(191) NOT NULL, 
    version BIGINT NOT NULL, 
    uri MEDIUMTEXT NOT NULL, 
    format VARCHAR(32) NOT NULL DEFAULT '', 
    filename VARCHAR(255) NOT NULL DEFAULT '', 
    sha256 VARCHAR(64) NOT NULL DEFAULT '', 
    size_bytes BIGINT NOT NULL DEFAULT '0', 
    options MEDIUMTEXT NOT NULL, 
    is_in_place TINYINT NOT NULL DEFAULT '0', 
    row_count BIGINT, 
    schema_json MEDIUMTEXT, 
    preview_json MEDIUMTEXT, 
    inspection VARCHAR(16) NOT NULL DEFAULT '', 
    inspection_error MEDIUMTEXT, 
    created_by VARCHAR(128) NOT NULL DEFAULT '', 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_dataset_versions PRIMARY KEY (namespace, dataset_id, version), 
    CONSTRAINT fk_dataset_versions_namespace_dataset_id FOREIGN KEY(namespace, dataset_id) REFERENCES datasets (namespace, dataset_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE operator_engines (
    engine_id VARCHAR(128) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    incarnation VARCHAR(128) NOT NULL, 
    url VARCHAR(255) NOT NULL DEFAULT '', 
    host VARCHAR(255) NOT NULL DEFAULT '', 
    version VARCHAR(64) NOT NULL DEFAULT '', 
    slots BIGINT NOT NULL DEFAULT '0', 
    registration MEDIUMTEXT NOT NULL, 
    catalogue_digest VARCHAR(128) NOT NULL DEFAULT '', 
    is_alive TINYINT NOT NULL DEFAULT '0', 
    registered_at DATETIME(6) NOT NULL, 
    heartbeat_at DATETIME(6), 
    deregistered_at DATETIME(6), 
    CONSTRAINT pk_operator_engines PRIMARY KEY (engine_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE algorithms (
    engine_id VARCHAR(128) NOT NULL, 
    name VARCHAR(191) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    code_version VARCHAR(191) NOT NULL DEFAULT '', 
    offer MEDIUMTEXT NOT NULL, 
    offered_in BIGINT NOT NULL, 
    CONSTRAINT pk_algorithms PRIMARY KEY (engine_id, name), 
    CONSTRAINT fk_algorithms_engine_id FOREIGN KEY(engine_id) REFERENCES operator_engines (engine_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE executors (
    engine_id VARCHAR(128) NOT NULL, 
    name VARCHAR(128) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    offer MEDIUMTEXT NOT NULL, 
    offered_in BIGINT NOT NULL, 
    CONSTRAINT pk_executors PRIMARY KEY (engine_id, name), 
    CONSTRAINT fk_executors_engine_id FOREIGN KEY(engine_id) REFERENCES operator_engines (engine_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE leader (
    seat BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    epoch BIGINT NOT NULL DEFAULT '0', 
    batch BIGINT NOT NULL DEFAULT '0', 
    catalogue_revision BIGINT NOT NULL DEFAULT '0', 
    holder VARCHAR(191) NOT NULL DEFAULT '', 
    url VARCHAR(255) NOT NULL DEFAULT '', 
    lease_until DATETIME(6) NOT NULL, 
    connection_id BIGINT NOT NULL DEFAULT '0', 
    host VARCHAR(255) NOT NULL DEFAULT '', 
    pid BIGINT NOT NULL DEFAULT '0', 
    process_started BIGINT NOT NULL DEFAULT '0', 
    CONSTRAINT pk_leader PRIMARY KEY (seat)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE components (
    kind VARCHAR(32) NOT NULL, 
    instance VARCHAR(191) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    host VARCHAR(255) NOT NULL DEFAULT '', 
    pid BIGINT NOT NULL DEFAULT '0', 
    version VARCHAR(64) NOT NULL DEFAULT '', 
    detail MEDIUMTEXT, 
    started_at DATETIME(6) NOT NULL, 
    heartbeat_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_components PRIMARY KEY (kind, instance)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE idempotency_keys (
    namespace VARCHAR(64) NOT NULL, 
    idempotency_key VARCHAR(191) NOT NULL, 
    operation VARCHAR(64) NOT NULL, 
    body_digest VARCHAR(64) NOT NULL, 
    subject VARCHAR(191) NOT NULL DEFAULT '', 
    answer MEDIUMTEXT, 
    created_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (namespace, idempotency_key)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE tokens (
    token_id VARCHAR(20) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    token_hash VARCHAR(64) NOT NULL, 
    name VARCHAR(191) NOT NULL DEFAULT '', 
    `role` VARCHAR(16) NOT NULL, 
    created_at DATETIME(6) NOT NULL, 
    expires_at DATETIME(6), 
    revoked_at DATETIME(6), 
    CONSTRAINT pk_tokens PRIMARY KEY (token_id), 
    CONSTRAINT uq_tokens_token_hash UNIQUE (token_hash)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO alembic_version (version_num) VALUES ('0001');

-- Running upgrade 0001 -> 0002

CREATE TABLE secrets (
    namespace VARCHAR(64) NOT NULL, 
    kind VARCHAR(16) NOT NULL, 
    name VARCHAR(128) NOT NULL, 
    key_id VARCHAR(32) NOT NULL, 
    sealed MEDIUMBLOB NOT NULL, 
    created_by VARCHAR(128) NOT NULL DEFAULT '', 
    created_at DATETIME(6) NOT NULL, 
    updated_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_secrets PRIMARY KEY (namespace, kind, name)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';

-- Running upgrade 0002 -> 0003

CREATE TABLE run_expiries (
    run_id VARCHAR(20) NOT NULL, 
    kind VARCHAR(16) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    expired_at DATETIME(6) NOT NULL, 
    purged_at DATETIME(6), 
    CONSTRAINT pk_run_expiries PRIMARY KEY (run_id, kind)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_run_expiries_open ON run_expiries (purged_at, run_id);

UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';

-- Running upgrade 0003 -> 0004

ALTER TABLE runs DROP INDEX ix_runs_dag, ADD INDEX ix_runs_dag_state (namespace, is_internal, dag_id, state, run_id);

UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';

-- Running upgrade 0004 -> 0005

CREATE TABLE cache_entries (
    namespace VARCHAR(64) NOT NULL, 
    cache_key VARCHAR(64) NOT NULL, 
    run_id VARCHAR(20) NOT NULL, 
    idx BIGINT NOT NULL, 
    attempt BIGINT NOT NULL, 
    made_at DATETIME(6) NOT NULL, 
    CONSTRAINT pk_cache_entries PRIMARY KEY (namespace, cache_key)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_cache_entries_run ON cache_entries (run_id);

CREATE TABLE cache_findings (
    run_id VARCHAR(20) NOT NULL, 
    idx BIGINT NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    verdict VARCHAR(16) NOT NULL, 
    source_run VARCHAR(20) NOT NULL, 
    source_idx BIGINT NOT NULL, 
    source_attempt BIGINT NOT NULL, 
    detail MEDIUMTEXT, 
    CONSTRAINT pk_cache_findings PRIMARY KEY (run_id, idx)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE run_needs (
    run_id VARCHAR(20) NOT NULL, 
    source_run VARCHAR(20) NOT NULL, 
    namespace VARCHAR(64) NOT NULL DEFAULT 'default', 
    CONSTRAINT pk_run_needs PRIMARY KEY (run_id, source_run)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_run_needs_source ON run_needs (source_run, run_id);

UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';

-- Running upgrade 0005 -> 0006

UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';
