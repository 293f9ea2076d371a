"""Tokens of attempts: only who was handed an attempt can report on it."""

from __future__ import annotations

import hmac


class AttemptTokens:
    """Makes and checks tokens: an HMAC of the attempt's id with the installation's secret."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def make(self, attempt_id: str) -> str:
        """Return the token of an attempt, 64 hexadecimal digits."""
        return hmac.digest(self._key, attempt_id.encode(), "sha256").hex()

    def is_right(self, attempt_id: str, token: str) -> bool:
        """Tell whether a token is that of the attempt, in constant time."""
        return hmac.compare_digest(self.make(attempt_id).encode(), token.encode())
