"""Errors of the scheduler."""


class SchedulerError(Exception):
    """Base of what the scheduler raises; `http_status` is what its server answers."""

    http_status = 500
    code = "scheduler"


class NotLeadingError(SchedulerError):
    """No leader lease is held here just now: the call is to be repeated."""

    http_status = 503
    code = "not_leading"

    def __str__(self) -> str:
        return "This scheduler does not lead just now. Repeat the call in a moment."


class StaleRegistrationError(SchedulerError):
    """A registration came late: its operator engine has registered again since."""

    http_status = 409
    code = "stale_registration"

    def __init__(self, engine_id: str) -> None:
        super().__init__(engine_id)
        self.engine_id = engine_id

    def __str__(self) -> str:
        return (
            f"The operator engine {self.engine_id} has registered since this registration was "
            "sent. Nothing was changed; send one with a higher number."
        )


class StoreMismatchError(SchedulerError):
    """An operator engine sees another artifact store than the dag engine."""

    http_status = 409
    code = "store_mismatch"

    def __init__(self, store_url: str) -> None:
        super().__init__(store_url)
        self.store_url = store_url

    def __str__(self) -> str:
        return (
            f"The operator engine does not see the artifact store {self.store_url}: its marker "
            "file differs. Mount that store on the engine's host, or set store.url to one that "
            "all hosts see."
        )


class MessageRefusedError(SchedulerError):
    """A message cannot be handled, now or later; `kind` is the type of the error that it raised."""

    code = "message_refused"

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"The scheduler cannot handle this message ({self.kind}). Nothing was changed; its log "
            "tells why."
        )
