"""Downloads: public addresses alone, also after a redirect, whatever a name resolves to a moment later."""

import asyncio
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest

from aigid.serve import uploads
from aigid.serve.limits import ServiceError
from tests.helpers import image_server
from tests.helpers.local_server import LocalServer, running
from tests.helpers.service import ask, grain

PRIVATE = (
    *("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("255.255.255.255", "::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::127.0.0.1"),
    *("64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1", "::ffff:8.8.8.8"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address):
    assert not uploads.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_are(address):
    assert uploads.is_public(address)


def download(url, allow=lambda address: True, max_bytes=10**6, seconds=5.0):
    return asyncio.run(uploads.download(url, max_bytes, seconds, allow))


@contextmanager
def redirects(to, host="127.0.0.2"):
    """A server at another address of this machine that sends everybody on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", to)
            self.end_headers()

        def log_message(self, *_):
            pass

    with running(LocalServer(Handler, host)) as server:
        yield f"{server.url}/"


@pytest.fixture
def files():
    with image_server.serve({"a.png": grain(), "slow/a.png": grain(size=200), "a b.png": b"x"}) as server:
        yield server


def test_a_file_is_fetched_also_after_a_redirect(files):
    assert download(f"{files.url}/a.png") == grain()
    with redirects(f"{files.url}/a.png") as url:
        assert download(url) == grain()


@pytest.mark.parametrize("url", ["{}/a.png", "http://localhost:{}/a.png", "http://2130706433:{}/", "http://[::1]:{}/"])
def test_private_addresses_are_never_connected_to(service, files, url):
    address = url.format(files.url if url.startswith("{") else files.server_port)
    (answer,) = ask(service, {"json": {"urls": [address]}})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] in ("url_refused", "url_failed")  # the last where a name is not resolved
    assert not files.requests


def test_a_redirect_to_a_private_address_is_refused(files):
    with redirects(f"{files.url}/a.png") as url, pytest.raises(ServiceError, match="not a public address"):
        download(url, allow=lambda address: address == "127.0.0.2")
    assert not files.requests


def test_a_name_that_resolves_otherwise_a_moment_later_gains_nothing(files, monkeypatch):
    """The first answer is the checked one, and the only one that is asked for."""
    answers = iter(["127.0.0.1", "127.0.0.9"])

    def resolve(host, port, *_args, **_options):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://rebinding.example:{files.server_port}/a.png"
    assert download(url, allow=lambda address: address == "127.0.0.1") == grain()
    assert next(answers) == "127.0.0.9"


def test_one_private_address_among_public_ones_is_enough_to_refuse(files, monkeypatch):
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, files.server_port)) for host in ("127.0.0.1", "10.0.0.1")
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    with pytest.raises(ServiceError, match="not a public address"):
        download("http://both.example/a.png", allow=lambda address: address == "127.0.0.1")


@pytest.mark.parametrize(
    ("url", "code", "text"),
    [
        ("{}/nosuch.png", "url_failed", "HTTP status 404"),
        ("{}/slow/a.png", "url_failed", "no answer within 0.3 s"),
        ("file:///etc/passwd", "url_refused", "want http"),
        ("http://user@127.0.0.1/", "url_refused", "want http"),
        ("http://127.0.0.1:1/", "url_failed", "127.0.0.1:1"),
        ("http://127.0.0.1:99999/", "url_failed", "ort"),
        ("http://[/", "url_failed", "Invalid"),
    ],
)
def test_what_cannot_be_fetched_is_named(files, url, code, text):
    with pytest.raises(ServiceError, match=text) as caught:
        download(url.format(files.url), seconds=0.3)
    assert caught.value.error["code"] == code


def test_bounds_of_bytes_and_redirects(files):
    with pytest.raises(ServiceError, match="more than 100 bytes"):
        download(f"{files.url}/a.png", max_bytes=100)
    with redirects("/again") as url, pytest.raises(ServiceError, match="more than 3 redirects"):
        download(url)
