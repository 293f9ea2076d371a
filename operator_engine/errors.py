"""Errors of the operator engine."""


class EngineError(Exception):
    """Base of what the operator engine raises."""


class SettingsError(EngineError):
    """The settings of an operator engine cannot be used."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"The settings {self.path} cannot be used: {self.detail}"


class ExecutorLoadError(EngineError):
    """An executor cannot be made from its entry in the configuration."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(name, detail)
        self.name = name
        self.detail = detail

    def __str__(self) -> str:
        return f"Executor {self.name!r} cannot be made: {self.detail}"


class DispatchRefusedError(EngineError):
    """A batch of the dag engine is not for this engine as it is now: not at all (409), or not at
    this moment (503).
    """

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class TokenRefusedError(EngineError):
    """The dag engine does not take this engine's token, or asks for one and got none."""

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(url, detail)
        self.url = url
        self.detail = detail

    def __str__(self) -> str:
        return (
            f"{self.url} refuses this operator engine: {self.detail}\n"
            "Name one with --token; `dagengine tokens add NAME --role operator` on its host makes "
            "it."
        )


class HomeInUseError(EngineError):
    """Another launcher runs on the same home folder."""

    def __init__(self, home: str, pid: str) -> None:
        super().__init__(home, pid)
        self.home = home
        self.pid = pid

    def __str__(self) -> str:
        return (
            f"The folder {self.home} is in use by another service (process {self.pid}). "
            f"Stop that one first, or name another folder with --home."
        )


class StoppedError(EngineError):
    """A wait was broken off because the service is to stop."""
