import contextlib
import http.server
import socket
import ssl
import threading

import pytest

from executors.runtime.egress import check_address, open_checked
from executors.runtime.errors import EgressDeniedError, InvalidInputError
from tests.support.certificates import make_certificate

INSIDE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.0.0.1",
    "172.16.9.9",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "198.18.0.1",
    "240.0.0.1",
]
NOWHERE = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
    "64:ff9b::a9fe:a9fe",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_unless_it_is_allowed(address):
    assert check_address(address)
    assert not check_address(address, allows_private=True)


@pytest.mark.parametrize("address", NOWHERE)
def test_link_local_multicast_and_unspecified_addresses_are_never_allowed(address):
    assert check_address(address, allows_private=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_outside_is_allowed(address):
    assert not check_address(address)


class Site:
    """A site on this machine that counts who comes."""

    def __init__(self, tls=None):
        self.asked = []
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append((self.path, self.headers["Host"]))
                if self.path == "/away":
                    self.send_response(302)
                    self.send_header("Location", "http://127.0.0.1:1/")
                    self.end_headers()
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"found")

            def log_message(self, *_args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @contextlib.contextmanager
    def served(self):
        self.thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            self.thread.join()


@pytest.fixture
def site():
    with Site().served() as served:
        yield served


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "localhost.", "0x7f.1", "2130706433", "0177.0.0.1", "127.1",
     "[::ffff:127.0.0.1]", "①②⑦.0.0.1"],
)  # fmt: skip
def test_every_spelling_of_this_machine_is_refused(site, host):
    # a resolver that does not know a spelling is as good
    with (
        pytest.raises(InvalidInputError, match=r"egress_denied|is not found"),
        open_checked(f"http://{host}:{site.port}/"),
    ):
        pass
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://h/x", "ftp://h/x", "http://user:pass@h/x", "http://@h/",
     "http:///x", "http://h:0/", "http://h:99999/", "http://h\\@x/", "//h/x", "http://[::1/"],
)  # fmt: skip
def test_urls_of_other_kinds_are_refused_before_anything_is_looked_up(url):
    def look_up(host, port):
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(EgressDeniedError), open_checked(url, look_up=look_up):
        pass


def test_a_name_is_refused_where_one_of_its_addresses_leads_inside(site):
    with (
        pytest.raises(EgressDeniedError, match=r"data\.example leads inside"),
        open_checked(
            f"http://data.example:{site.port}/", look_up=lambda *_: ["8.8.8.8", "127.0.0.1"]
        ),
    ):
        pass
    assert site.asked == []


def test_the_connection_goes_to_the_address_that_was_checked(site, monkeypatch):
    """A name that leads elsewhere at a second look (DNS rebinding) is not looked at again."""
    looks = []

    def look_up(host, port):
        looks.append(host)
        return ["127.0.0.1"]

    def refuse(host, *_args, **_options):
        if host not in ("127.0.0.1",):
            raise AssertionError(f"{host} is looked up a second time")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, site.port))]

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    url = f"http://rebound.example:{site.port}/data.csv?x=1"
    with open_checked(url, allows_private=True, look_up=look_up) as reply:
        assert reply.raw.read() == b"found"

    assert looks == ["rebound.example"]
    assert site.asked == [("/data.csv?x=1", f"rebound.example:{site.port}")]


def test_a_redirect_is_not_followed(site):
    with open_checked(f"http://127.0.0.1:{site.port}/away", allows_private=True) as reply:
        assert reply.status_code == 302


def test_no_proxy_of_the_environment_is_asked(site, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with open_checked(f"http://127.0.0.1:{site.port}/", allows_private=True) as reply:
        assert reply.status_code == 200


def test_the_next_address_is_tried_where_the_first_does_not_answer(site):
    with open_checked(
        f"http://data.example:{site.port}/",
        allows_private=True,
        look_up=lambda *_: ["127.0.0.2", "127.0.0.1"],
    ) as reply:
        assert reply.status_code == 200


def test_a_host_that_is_not_found_is_named():
    def look_up(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    with (
        pytest.raises(InvalidInputError, match=r"'nowhere\.example' is not found"),
        open_checked("http://nowhere.example/", look_up=look_up),
    ):
        pass


@pytest.mark.parametrize(("host", "is_good"), [("data.example", True), ("other.example", False)])
def test_the_certificate_must_be_that_of_the_name(tmp_path, monkeypatch, host, is_good):
    path, key = make_certificate(tmp_path, "data.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path, key)
    monkeypatch.setattr("requests.certs.where", lambda: str(path))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(path))
    with Site(tls).served() as site:
        opened = open_checked(
            f"https://{host}:{site.port}/", allows_private=True, look_up=lambda *_: ["127.0.0.1"]
        )
        if is_good:
            with opened as reply:
                assert reply.raw.read() == b"found"
        else:
            with pytest.raises(InvalidInputError, match="cannot be read"), opened:
                pass
