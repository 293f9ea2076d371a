"""Errors of the storage."""

from __future__ import annotations

RESTORING = "restoring"
"""Stands for the schema's revision while a restore is under way, so that nobody starts."""


class StorageError(Exception):
    """Base of what the storage raises; `status` is the HTTP status that fits, `code` a short word
    for programs.
    """

    status = 500
    code = "storage_error"

    @property
    def public_text(self) -> str:
        """What anybody may read of it, over HTTP; logs and people at this machine get all."""
        return str(self)


class DatabaseUnavailableError(StorageError):
    """The database could not be reached in time; the call may be repeated later."""

    status = 503
    code = "database_unavailable"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"The database cannot be used just now ({self.detail}). Try again in a moment."

    @property
    def public_text(self) -> str:
        """The same without the driver's words, which name host and account."""
        return "The database cannot be used just now. Try again in a moment."


class DatabaseSettingsError(StorageError):
    """The database's address or settings do not do; the message says what to change."""

    code = "database_settings"

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.problem} {self.cure}"


class SchemaOutdatedError(StorageError):
    """The tables are missing, older or newer than this program needs."""

    status = 503
    code = "schema_outdated"

    def __init__(self, found: str, needed: str) -> None:
        super().__init__(found, needed)
        self.found = found
        self.needed = needed

    def __str__(self) -> str:
        if self.found == RESTORING:
            return (
                "A restore into this database was broken off, so it is not whole. "
                "Repeat `dagengine db restore FILE`."
            )
        found = f"has schema {self.found}" if self.found else "has no tables yet"
        return (
            f"The database {found}, this program needs schema {self.needed}. "
            "Run `dagengine db upgrade` with the newest program."
        )


class BackupUnusableError(StorageError):
    """A file is no backup, or was damaged since it was written."""

    code = "backup_unusable"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"The copy {self.path} cannot be used: {self.problem}. Nothing was changed. "
            "Name a whole file that `dagengine db backup` made."
        )


class DatabaseInUseError(StorageError):
    """Something works with a database that is to be replaced; `users` names it."""

    status = 409
    code = "database_in_use"

    def __init__(self, users: str) -> None:
        super().__init__(users)
        self.users = users

    def __str__(self) -> str:
        return (
            f"The database is in use: {self.users}. Nothing was changed. Stop all services that "
            "use it, operator engines and commands too, then repeat."
        )


class ForkedDatabaseError(StorageError):
    """A database object was carried over a fork; both processes would share one connection."""

    code = "forked_database"

    def __init__(self, opened_by: int, used_by: int) -> None:
        super().__init__(opened_by, used_by)
        self.opened_by = opened_by
        self.used_by = used_by

    def __str__(self) -> str:
        return (
            f"The database was opened by process {self.opened_by} and is used by process "
            f"{self.used_by}. Open it after the fork."
        )


class LeadershipLostError(StorageError):
    """Another scheduler leads: its epoch stands in the leader row."""

    code = "leadership_lost"

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch

    def __str__(self) -> str:
        return f"This scheduler no longer leads (its epoch was {self.epoch}). Nothing was written."


class BatchRefusedError(StorageError):
    """The database refused a batch for good; nothing of it was written."""

    code = "batch_refused"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"The database refused the batch, nothing of it was written: {self.detail}"


class NotFoundError(StorageError):
    """No such thing in this namespace."""

    status = 404
    code = "not_found"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key

    def __str__(self) -> str:
        return f"There is no {self.kind} {self.key!r}."


class PreconditionFailedError(StorageError):
    """`If-Match` named another version than the present one."""

    status = 412
    code = "precondition_failed"

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return (
            f"The definition has changed: If-Match names {self.expected}, the present one is "
            f"{self.found}. Read it again and repeat the change."
        )


class NameTakenError(StorageError):
    """Another definition of the namespace bears this name."""

    status = 409
    code = "name_taken"

    def __init__(self, name: str, holder: str) -> None:
        super().__init__(name, holder)
        self.name = name
        self.holder = holder

    def __str__(self) -> str:
        return f"The name {self.name!r} belongs to {self.holder}. Choose another name."


class ResultsExpiredError(StorageError):
    """A run was to stand on results that were deleted as it was planned."""

    status = 409
    code = "results_expired"

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return (
            f"The results of run {self.run_id}, which this run was to use, have expired just now. "
            "Start again: what is lacking is then told, or found elsewhere."
        )


class IdempotencyConflictError(StorageError):
    """An `Idempotency-Key` came again with another request."""

    status = 422
    code = "idempotency_conflict"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return (
            f"The Idempotency-Key {self.key!r} was used for another request. Use a new key for a "
            "new request, or repeat the old request unchanged."
        )


class InvalidCursorError(StorageError):
    """A cursor that no list has given out."""

    status = 400
    code = "invalid_cursor"

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor)
        self.cursor = cursor

    def __str__(self) -> str:
        return f"The cursor {self.cursor!r} is not one of this list. Start without a cursor."


class SecretTooLargeError(StorageError):
    """A secret or connection is longer than what is sealed."""

    status = 413
    code = "secret_too_large"

    def __init__(self, kind: str, limit_bytes: int) -> None:
        super().__init__(kind, limit_bytes)
        self.kind = kind
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"A {self.kind} may be {self.limit_bytes} bytes long at most."


class SecretKeyError(StorageError):
    """There is no key to seal or open secrets with, or it is not kept privately."""

    status = 503
    code = "secret_key_unavailable"

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(problem, cure)
        self.problem = problem
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.problem}. {self.cure}"


class SecretUnreadableError(StorageError):
    """A stored secret or connection cannot be opened; `why` names the key or the damage."""

    status = 503
    code = "secret_unreadable"

    def __init__(self, kind: str, name: str, namespace: str, why: str) -> None:
        super().__init__(kind, name, namespace, why)
        self.kind = kind
        self.name = name
        self.namespace = namespace
        self.why = why

    def __str__(self) -> str:
        return f"The {self.kind} {self.name!r} of {self.namespace!r} cannot be opened: {self.why}."
