"""Ports for servers that are stopped and started again under the same number."""

from __future__ import annotations

import os
import random
import socket

LOWEST, HIGHEST = 20_000, 32_000
"""Below the kernel's ephemeral ports (32768 and up): while the server is away no connection of
anybody takes its port, and no client connects to itself by chance."""


_N_SHARES = 64
_given: set[int] = set()


def find_free_port() -> int:
    """Find a port of this machine that nobody listens on, and that no other test was given: what it
    is for may be away just now, or not have been started yet.
    """
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").lstrip("gw")) % _N_SHARES
    for _ in range(10_000):
        port = random.randrange(LOWEST + share, HIGHEST, _N_SHARES)
        if port in _given:
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError(f"no free port between {LOWEST} and {HIGHEST}")
