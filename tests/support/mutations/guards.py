"""The guards that are taken out one at a time, and the suites that have to notice."""

from __future__ import annotations

from tests.support.mutations.workbench import Cut, Mutation, Suite

FENCE = Mutation(
    "the fence",
    "A scheduler that no longer leads writes all the same.",
    (
        Cut(
            "dag_engine/storage/seat.py",
            '"WHERE seat = 1 AND epoch = ? AND batch = ?"\n    ),\n    progress',
            '"WHERE seat = 1 AND ? > 0 AND ? >= 0"\n    ),\n    progress',
        ),
        Cut(
            "dag_engine/storage/seat.py",
            '"UPDATE leader SET batch = IF(epoch = %s AND batch = %s, %s, NULL), "',
            '"UPDATE leader SET batch = IF(%s > 0 AND %s >= 0, %s, NULL), "',
        ),
    ),
    (
        Suite("tests/contract/storage/test_leadership.py"),
        Suite(
            "tests/faults/test_high_availability.py -k heard_no_more",
            "got past the fence|got as far as writing",
        ),
    ),
)
TOKEN = Mutation(
    "the token check",
    "Whoever guesses the name of an attempt may report its end.",
    (
        Cut(
            "dag_engine/scheduler/reign.py",
            "if self._around.tokens.is_right(attempt_id, report.token):",
            "if report.token is not None:",
        ),
    ),
    (
        Suite("tests/integration/scheduler/test_access.py"),
        Suite("tests/faults/test_simulation.py -k every_promise"),
    ),
)
ATTEMPT = Mutation(
    "the check of the attempt's number",
    "A late report of an old attempt ends the present one.",
    (
        Cut(
            "dag_engine/scheduler/reign.py",
            "if run.tasks[index].row.attempt != attempt:",
            "if run.tasks[index].row.attempt < attempt:",
        ),
    ),
    (
        Suite("tests/integration/scheduler/test_scheduler.py"),
        Suite("tests/faults/test_simulation.py -k every_promise"),
    ),
)
SYNC = Mutation(
    "the sync before the rename",
    "After a power failure an artifact may be there by name and empty.",
    (
        Cut(
            "executors/runtime/staging.py",
            "                os.fsync(self._file.fileno())\n",
            "                self._file.fileno()\n",
        ),
    ),
    (Suite("tests/unit/executors/runtime/test_sync_order.py"),),
)
SYNC_ORDER = Mutation(
    "the order of sync and rename",
    "The folder is shown first and synced afterwards.",
    (
        Cut(
            "executors/runtime/staging.py",
            "            sync_folder(self._path)\n"
            "            _move_into_place(self._path, Path(get_local_path(self.url)))\n",
            "            _move_into_place(self._path, Path(get_local_path(self.url)))\n"
            "            sync_folder(Path(get_local_path(self.url)))\n",
        ),
    ),
    (Suite("tests/unit/executors/runtime/test_sync_order.py"),),
)
IDEMPOTENCY = Mutation(
    "the idempotency key",
    "A request that is repeated makes a second run.",
    (
        Cut(
            "dag_engine/storage/idempotency.py",
            "        return found\n    return subject\n",
            "        return subject\n    return subject\n",
        ),
        Cut(
            "dag_engine/storage/idempotency.py",
            "    return database.read(lambda connection: _find(connection, namespace, key))\n",
            "    return None\n",
        ),
    ),
    (
        Suite("tests/contract/storage/test_runs.py"),
        Suite("tests/faults/test_idempotency.py -k sqlite", r"AssertionError: \w+ made \{"),
    ),
)
RETRY = Mutation(
    "the repetition of transactions",
    "A lost lock or connection becomes an error of the request or ends the scheduler's reign.",
    (
        Cut(
            "dag_engine/storage/failures.py",
            "    return is_contention(error) or is_away(error)\n",
            "    return False\n",
        ),
    ),
    (
        Suite("tests/contract/storage/test_transactions.py"),
        Suite("tests/contract/storage/test_commit.py"),
    ),
)
HOLD = Mutation(
    "the hold on a former result",
    "The policy of retention deletes what another run was given by the cache.",
    (
        Cut(
            "dag_engine/storage/reuse.py",
            "        bulk.insert_rows(connection, _needs, "
            '["run_id", "source_run", "namespace"], rows)\n',
            "        rows.clear()\n",
        ),
    ),
    (
        Suite("tests/contract/storage/test_reuse.py"),
        Suite("tests/integration/scheduler/test_cache.py"),
    ),
)
LOOK = Mutation(
    "the look at a former result",
    "A task is given artifacts that are gone, or are not what was stored.",
    (
        Cut(
            "dag_engine/storage/reuse.py",
            "            check_artifact(ref, store_url)\n",
            "            repr(ref)\n",
        ),
    ),
    (
        Suite("tests/contract/storage/test_reuse.py"),
        Suite("tests/integration/scheduler/test_cache.py"),
    ),
)

MUTATIONS = (FENCE, TOKEN, ATTEMPT, SYNC, SYNC_ORDER, IDEMPOTENCY, RETRY, HOLD, LOOK)
