"""A web server of files that breaks off, lies, refuses and is slow, as its files' names say."""

import time
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from tests.helpers.local_server import LocalServer, running


class ImageServer(LocalServer):
    """``files`` by path; ``requests`` counts them; ``ranges`` are the positions from which files were continued.

    The first folder of a path says what happens: ``breaks`` (twice, in the middle), ``short`` (says a smaller length),
    ``long`` (says a greater one), ``gone`` (404), ``busy`` (429 twice), ``stubborn`` (429 always), ``whole`` (breaks
    once and knows no ranges), ``slow`` (waits between blocks), ``changed`` (breaks once; goes on with other bytes),
    ``nonsense`` (416 always), ``odd`` (503 always, and asks for a wait that is no number).
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(Handler)
        self.files, self.requests = dict(files), Counter[str]()
        self.ranges: list[int] = []


class Handler(BaseHTTPRequestHandler):
    server: ImageServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        kind, self.server.requests[path] = path.partition("/")[0], self.server.requests[path] + 1
        time_asked = self.server.requests[path]
        if kind == "gone" or path not in self.server.files:
            return self.send_error(404)
        if kind == "nonsense":
            return self.send_error(416)
        if kind == "odd":
            self.send_response(503)
            self.send_header("Retry-After", "\u00b2")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if kind == "stubborn" or (kind == "busy" and time_asked <= 2):
            self.send_response(429)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content, start = self.server.files[path], 0
        if (header := self.headers.get("Range")) and kind != "whole":
            start = int(header.removeprefix("bytes=").rstrip("-"))
            self.server.ranges.append(start)
            if start >= len(content):
                return self.send_error(416)
        if kind == "changed" and start:
            content = bytes(len(content))
        body = content[start:]
        lie = {"short": -len(body) // 2, "long": 100}.get(kind, 0)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body) + lie))
        self.end_headers()
        breaks = {"breaks": 2, "whole": 1, "changed": 1}.get(kind, 0) >= time_asked
        self._send(body[: len(body) // 2] if breaks else body, 0.02 if kind == "slow" else 0)
        self.close_connection = True
        return None

    def _send(self, body: bytes, pause: float) -> None:
        for start in range(0, len(body), 1024):
            try:
                self.wfile.write(body[start : start + 1024])
            except OSError:
                return
            time.sleep(pause)


def serve(files: Mapping[str, bytes]) -> AbstractContextManager[ImageServer]:
    """Serve files by path until the block ends."""
    return running(ImageServer(files))
