"""Errors of the HTTP API; each knows its status and is rendered as an RFC 9457 problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ApiError(Exception):
    """Base of what the API answers instead of a result.

    Parameters
    ----------
    code : str
        Short word for programs.
    detail : str
        Sentence for people: what was expected, what came, what to do.
    hint : str
        How to cure it.
    problems : sequence of dict
        Single problems, where there are several.
    """

    status = 400

    def __init__(
        self,
        code: str,
        detail: str,
        hint: str = "",
        problems: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(code, detail, hint, problems)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.problems = list(problems)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the answer carries besides the usual ones."""
        return {}

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class BadRequestError(ApiError):
    """The request itself is not well formed."""


class UnauthorizedError(ApiError):
    """No token, or one that is not known."""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        """Name the scheme that is expected."""
        return {"WWW-Authenticate": 'Bearer realm="dagengine"'}


class ForbiddenError(ApiError):
    """A foreign host name or origin."""

    status = 403


class NotFoundError(ApiError):
    """Nothing of that name is here."""

    status = 404


class NotAcceptableError(ApiError):
    """What the client accepts cannot be made."""

    status = 406


class ConflictError(ApiError):
    """The present state does not allow it."""

    status = 409


class GoneError(ApiError):
    """It was here, and is not any more."""

    status = 410


class TooLargeError(ApiError):
    """The body is over the limit."""

    status = 413


class UnsupportedTypeError(ApiError):
    """The body's content type is not one that the call takes."""

    status = 415


class UnprocessableError(ApiError):
    """Well formed, but its content is refused."""

    status = 422


class _ComeAgainError(ApiError):
    """Base of what may be tried again after a while."""

    def __init__(self, code: str, detail: str, retry_after_s: int = 2) -> None:
        super().__init__(code, detail)
        self.args = (code, detail, retry_after_s)
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come again."""
        return {"Retry-After": str(self.retry_after_s)}


class UnavailableError(_ComeAgainError):
    """It cannot be done just now; the client may come again."""

    status = 503


class TooManyRequestsError(_ComeAgainError):
    """The client asks for more than its share; it may come again."""

    status = 429


class DiskFullError(ApiError):
    """There is no room for what was sent."""

    status = 507


class BindRefusedError(Exception):
    """The api would listen beyond this machine without a token to keep strangers out."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"The api would listen on {self.host!r}, which other machines reach, and no token "
            "exists. Make one with `dagengine tokens add NAME`, or listen on 127.0.0.1."
        )
