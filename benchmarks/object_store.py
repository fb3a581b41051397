"""An object store of this machine by S3's protocol, as slow and as faulty as it is told to be.

It has what s3fs asks of one: buckets, GET with ranges, HEAD, PUT and lists. Answers come ``latency`` seconds after
their requests, but not to a share of these: the connection is reset, the status is 503, or the body ends halfway.
"""

import asyncio
import hashlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import islice
from time import perf_counter
from typing import NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

RESET, BUSY, SHORT = FAULTS = ("reset", "503", "short body")
KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
LISTED = 1000  # names of a page


class Request(NamedTuple):
    """What was asked and when it was answered; ``fault`` is "" where it was."""

    seconds: float
    operation: str  # GET, HEAD, PUT or LIST
    key: str  # bucket/name
    fault: str


@dataclass
class ObjectStore:
    """``objects`` by ``bucket/name``; ``requests`` as they were answered."""

    latency: float = 0.0
    faults: float = 0.0
    seed: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        self._random, self._times = random.Random(self.seed), dict[str, float]()

    @contextmanager
    def running(self) -> Iterator["ObjectStore"]:
        """Answer in a thread until the block ends."""
        ready: Future[Callable[[], object]] = Future()

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1000)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            loop, stopped = asyncio.get_running_loop(), asyncio.Event()
            ready.set_result(lambda: loop.call_soon_threadsafe(stopped.set))
            await stopped.wait()
            server.close()

        thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        thread.start()
        stop = ready.result()
        try:
            yield self
        finally:
            stop()
            thread.join()

    def environment(self) -> dict[str, str]:
        """The variables that let a process use it."""
        return KEYS | {"AWS_ENDPOINT_URL": self.url}

    def counts(self) -> Counter[str]:
        """Requests by operation, and faults by kind."""
        return Counter(word for request in self.requests for word in (request.operation, request.fault) if word)

    def unanswered(self) -> list[Request]:
        """The faults after which nobody asked the same again and was answered."""
        last = {(request.operation, request.key): request for request in self.requests}
        return [request for request in last.values() if request.fault]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines():
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                if headers.get("expect") == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, target, _ = head[0].split()
                await self._answer(method, target, headers, body, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # either side has hung up
            writer.close()

    async def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> None:
        url = urlsplit(target)
        key, query = unquote(url.path).strip("/"), parse_qs(url.query, keep_blank_values=True)
        operation = "LIST" if method == "GET" and "/" not in key else method
        fault = self._random.choice(FAULTS) if self._random.random() < self.faults else ""
        await asyncio.sleep(self.latency)
        if fault == BUSY:
            status, lines, content = 503, {}, error("ServiceUnavailable")
        else:
            status, lines, content = self._result(operation, key, query, headers.get("range", ""), body)
        if fault == SHORT and (operation in ("PUT", "HEAD") or not content):
            fault = RESET
        self.requests.append(Request(perf_counter(), operation, key or target, fault))
        if fault == RESET:
            reset(writer)
        lines = {"Content-Length": str(len(content))} | lines
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        end = len(content) // 2 if fault == SHORT else 0 if method == "HEAD" else len(content)
        writer.write(f"HTTP/1.1 {status} -\r\n{text}\r\n".encode() + content[:end])
        await writer.drain()
        if fault == SHORT:
            raise ConnectionAbortedError

    def _result(
        self, operation: str, key: str, query: dict[str, list[str]], span: str, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        if operation == "PUT":
            self.objects[key], self._times[key] = body, perf_counter()
            return 200, {"ETag": etag(body)}, b""
        if operation == "LIST":
            return 200, {"Content-Type": "application/xml"}, self._list(key, query)
        if key not in self.objects:
            exists = "/" not in key and any(name.startswith(f"{key}/") for name in self.objects)
            return (200, {}, b"") if exists else (404, {}, error("NoSuchKey"))
        content = self.objects[key]
        lines = {"ETag": etag(content), "Last-Modified": formatdate(0, usegmt=True), "Accept-Ranges": "bytes"}
        if operation == "HEAD":
            return 200, lines | {"Content-Length": str(len(content))}, b""
        if not span:
            return 200, lines, content
        start, _, end = span.removeprefix("bytes=").partition("-")
        first, last = int(start), min(int(end or len(content)), len(content) - 1)
        if first >= len(content):
            return 416, {}, error("InvalidRange")
        return 206, lines | {"Content-Range": f"bytes {first}-{last}/{len(content)}"}, content[first : last + 1]

    def _list(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """ListObjectsV2."""
        prefix, separator = (query.get(name, [""])[0] for name in ("prefix", "delimiter"))
        after, number = query.get("continuation-token", [""])[0], int(query.get("max-keys", [str(LISTED)])[0])
        names = sorted(
            name.removeprefix(f"{bucket}/") for name in self.objects if name.startswith(f"{bucket}/{prefix}")
        )
        entries: dict[str, str] = {}
        for name in names:
            folder, below, _ = name[len(prefix) :].partition(separator) if separator else ("", "", "")
            if below:
                path = f"{prefix}{folder}{separator}"
                entries[path] = f"<CommonPrefixes><Prefix>{escape(quote(path))}</Prefix></CommonPrefixes>"
            else:
                content = self.objects[f"{bucket}/{name}"]
                entries[name] = (
                    f"<Contents><Key>{escape(quote(name))}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                    f"<ETag>{escape(etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
                )
        page = list(islice((name for name in entries if name > after), number + 1))
        more = f"<NextContinuationToken>{escape(page[-2])}</NextContinuationToken>" if len(page) > number else ""
        return (
            f"<ListBucketResult><Name>{bucket}</Name><EncodingType>url</EncodingType><KeyCount>{len(page[:number])}"
            f"</KeyCount><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
            f"{''.join(entries[name] for name in page[:number])}</ListBucketResult>"
        ).encode()


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection off by TCP's RST; ConnectionAbortedError."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionAbortedError
