"""Errors of the transport."""


class TransportError(Exception):
    """Base of what the transport raises."""


class ConnectionFailedError(TransportError):
    """No answer: the peer could not be reached, or broke off. The request may or may not have been
    carried out.
    """

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(url, detail)
        self.url = url
        self.detail = detail

    def __str__(self) -> str:
        return f"No answer from {self.url}: {self.detail}"


class PeerClosedError(TransportError):
    """The other end of a framed socket is gone."""


class FrameTooLargeError(TransportError):
    """A frame announces more bytes than are let in: the peer does not speak this protocol."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(size_bytes, limit_bytes)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes

    def __str__(self) -> str:
        return f"A frame of {self.size_bytes} bytes came; at most {self.limit_bytes} are let in."
