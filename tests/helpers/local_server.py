"""An HTTP server of this machine that runs in a thread."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar


class LocalServer(ThreadingHTTPServer):
    """Listens on a free port of ``host``, an address of this machine."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), handler)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]}:{self.server_port}"


AnyServer = TypeVar("AnyServer", bound=LocalServer)


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Let a server answer until the block ends."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
