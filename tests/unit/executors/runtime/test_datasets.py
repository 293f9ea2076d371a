import functools
import hashlib
import http.server
import threading

import msgspec
import pytest

from executors.base import DatasetRef
from executors.runtime.datasets import check_uri
from executors.runtime.errors import InvalidInputError
from tests.support.attempts import Workshop, refer_to_file
from tests.support.sample_algorithms import MODULE

USE = f"{MODULE}:use_dataset"


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path / "home")


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("数\n1\n", encoding="utf-8")
    return path


def use(workshop, ref):
    return workshop.run(USE, {"kind": "40"}, datasets={"40": ref})


def test_a_dataset_on_this_machine_is_handed_out_where_it_lies(workshop, data):
    outcome = workshop.run(USE, {"kind": "40"}, datasets=refer_to_file(data, "40"))
    assert outcome.outputs[0].inline == {"id": "40", "version": 1, "text": "数\n1\n"}


def test_a_file_that_changed_since_it_was_registered_is_refused(workshop, data):
    (ref,) = refer_to_file(data, "40").values()
    data.write_text("x\n", encoding="utf-8")
    outcome = use(workshop, ref)
    assert outcome.reason == "invalid_input"
    assert "has changed since version 1" in outcome.message
    data.unlink()
    assert "cannot be read" in use(workshop, ref).message


def test_a_dataset_that_the_task_does_not_carry_is_named(workshop):
    outcome = workshop.run(USE, {"kind": "41"})
    assert (outcome.reason, "'41'" in outcome.message) == ("invalid_input", True)


def test_a_dataset_of_a_store_elsewhere_is_fetched_and_checked(workshop):
    import fsspec

    text = "数\n1\n".encode()
    fsspec.filesystem("memory").pipe("memory://data/x.csv", text)
    ref = DatasetRef(
        id="40",
        version=2,
        uri="memory://data/x.csv",
        sha256=hashlib.sha256(text).hexdigest(),
        size_bytes=len(text),
    )
    assert use(workshop, ref).outputs[0].inline["version"] == 2
    outcome = use(workshop, msgspec.structs.replace(ref, sha256="0" * 64))
    assert "has changed" in outcome.message


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("Location", "/data.csv")
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_args):
        pass


@pytest.fixture
def url(data):
    handler = functools.partial(Handler, directory=str(data.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dataset_at_a_url_is_fetched_and_redirects_are_not_followed(workshop, url):
    ref = DatasetRef(id="40", version=1, uri=f"{url}/data.csv", is_private=True)
    assert use(workshop, ref).outputs[0].inline["text"] == "数\n1\n"
    outcome = use(workshop, msgspec.structs.replace(ref, uri=f"{url}/away"))
    assert "answered 302" in outcome.message
    outcome = use(workshop, msgspec.structs.replace(ref, uri=f"{url}/nothing"))
    assert "answered 404" in outcome.message
    outcome = use(workshop, msgspec.structs.replace(ref, uri="http://127.0.0.1:1/x"))
    assert "cannot be read" in outcome.message


def test_a_dataset_at_a_url_that_leads_inside_is_not_fetched(workshop, url):
    outcome = use(workshop, DatasetRef(id="40", version=1, uri=f"{url}/data.csv"))
    assert (outcome.reason, "egress_denied" in outcome.message) == ("invalid_input", True)


def test_a_dataset_that_goes_on_beyond_its_size_is_cut_off(workshop, url):
    ref = DatasetRef(id="40", version=1, uri=f"{url}/data.csv", size_bytes=3, is_private=True)
    assert "More than the 3 bytes" in use(workshop, ref).message


@pytest.mark.parametrize(
    "uri",
    [
        "gopher://x/y",
        "ftp://x/y",
        "data:text/plain,x",
        "simplecache::file:///etc/passwd",
        "zip://x::http://y",
        "file:///data/../etc/passwd",
        "/data/../etc/passwd",
        "data/x.csv",
        "http://x/../y",
        "local:///etc/passwd",
    ],
)
def test_places_of_other_kinds_are_refused(uri):
    with pytest.raises(InvalidInputError):
        check_uri(uri)
