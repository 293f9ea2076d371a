"""Fetching over HTTP without being led inside: where a name points is looked up once and checked.

What may be fetched is decided by the dag engine (below an allowed root). This guards against what a
name can do afterwards: point to this machine, its network or a cloud's metadata service, now or
after the check (DNS rebinding). The connection goes to the very address that was checked, through
no proxy, and no redirect is followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from executors.runtime.errors import EgressDeniedError, InvalidInputError

if TYPE_CHECKING:
    import requests

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

_PORTS = {"http": 80, "https": 443}
_TIMEOUT_S = (10, 60)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def check_address(text: str, *, allows_private: bool = False) -> str:
    """Return why an address is refused, or nothing.

    Addresses that carry another one inside (mapped, 6to4, Teredo, NAT64) are what they carry.

    >>> check_address("93.184.215.14"), check_address("::ffff:127.0.0.1")
    ('', '127.0.0.1 is a private address')
    """
    address = _unwrap(ipaddress.ip_address(text.partition("%")[0]))
    # Nobody has data there, and the metadata services of clouds are link-local.
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"{address} is a link-local, multicast or unspecified address"
    if address.is_global or allows_private:
        return ""
    return f"{address} is a private address"


def _unwrap(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    return carried or address


def resolve(host: str, port: int) -> list[str]:
    """Look a name up; the system's own spellings of addresses (`0x7f.1`, `2130706433`) too."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@contextmanager
def open_checked(
    url: str, *, allows_private: bool = False, look_up: Resolve = resolve
) -> Iterator[requests.Response]:
    """Get a URL as a stream.

    Parameters
    ----------
    url : str
        An http or https URL without a user's name.
    allows_private : bool
        Whether the host may lie in a private network.
    look_up : callable
        Gives the addresses of a host; asked once.

    Raises
    ------
    EgressDeniedError
        If the URL, or one of the addresses of its host, is not allowed.
    InvalidInputError
        If it cannot be read.
    """
    import requests

    parts = _check_parts(url)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    addresses = _look_up_checked(url, host, port, look_up, allows_private=allows_private)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("https://", _adapter_for(host))
        reply = _get_first(session, parts, addresses, port)
        try:
            yield reply
        finally:
            reply.close()


def _check_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise EgressDeniedError(url, f"it is no sound URL ({error})", "") from error
    if parts.scheme not in _PORTS:
        raise EgressDeniedError(url, "its scheme is not http or https", "")
    if "@" in parts.netloc or not parts.hostname or port == 0 or "\\" in url:
        raise EgressDeniedError(url, "it names a user, no host, or a port that cannot be", "")
    return parts


def _look_up_checked(
    url: str, host: str, port: int, look_up: Resolve, *, allows_private: bool
) -> list[str]:
    try:
        addresses = look_up(host, port)
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(f"The host {host[:100]!r} is not found: {error}.") from error
    for address in addresses:
        if why := check_address(address, allows_private=allows_private):
            raise EgressDeniedError(url, f"{host} leads inside, {why}")
    return addresses


def _adapter_for(host: str) -> Any:
    """Make an adapter that asks the server for a host's certificate, whatever the URL says."""
    from requests.adapters import HTTPAdapter

    class _Pinned(HTTPAdapter):
        def init_poolmanager(
            self, connections: int, maxsize: int, block: bool = False, **options: Any
        ) -> None:
            options["server_hostname"] = host
            super().init_poolmanager(connections, maxsize, block, **options)

    return _Pinned()


def _get_first(
    session: requests.Session, parts: SplitResult, addresses: list[str], port: int
) -> requests.Response:
    """Get the resource from the first of the addresses that answers."""
    import requests

    problem: Exception | None = None
    for address in addresses:
        place = f"[{address}]" if ":" in address else address
        direct = parts._replace(netloc=f"{place}:{port}", fragment="").geturl()
        try:
            return session.get(
                direct,
                stream=True,
                timeout=_TIMEOUT_S,
                # A redirect could lead out of the root that the configuration allows.
                allow_redirects=False,
                headers={"Accept-Encoding": "identity", "Host": parts.netloc},
            )
        except requests.ConnectionError as error:
            problem = error
        except requests.RequestException as error:
            problem = error
            break
    raise InvalidInputError(f"{parts.geturl()} cannot be read: {problem}.") from problem
