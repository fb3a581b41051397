"""What the service refuses and what every request passes: limits, API keys, errors of one shape, headers, counts."""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aigid.core.console import print_status
from aigid.core.errors import InputError, os_errors
from aigid.core.limits import MAX_PIXELS
from aigid.images import Status

DIGEST = re.compile(r"[0-9a-f]{64}")
STATUS_CODES: dict[str, int] = {  # HTTP statuses of images that cannot be read; of all others 422
    Status.NOT_AN_IMAGE: 415,
    Status.UNSUPPORTED_FORMAT: 415,
    Status.TOO_MANY_BYTES: 413,
    Status.TOO_MANY_PIXELS: 413,
    Status.DECOMPRESSION_BOMB: 413,
}


@dataclass(frozen=True)
class Limits:
    """Of a file its bytes and pixels, of a request its files and seconds, of the service its requests and bytes.

    ``seconds`` hold for sending a request and again for the answer; ``requests`` are those that wait for one;
    ``held_bytes`` are of all files in memory.
    """

    file_bytes: int = 32 * 2**20
    pixels: int = MAX_PIXELS
    files: int = 16
    seconds: float = 60.0
    requests: int = 256
    held_bytes: int = 2**30


class ServiceError(Exception):
    """What is answered in place of a verdict: an HTTP status, a code for programs and a message for people."""

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status, self.extra = status, extra
        self.error = {"code": code, "message": message}
        self.headers = {} if retry_after is None else {"Retry-After": str(max(1, ceil(retry_after)))}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    @property
    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.error, **self.extra}, self.status, self.headers)


class ApiKeys:
    """The keys that a service knows, by their sha256 alone."""

    def __init__(self, path: Path) -> None:
        with os_errors(f"--api-keys {path}"):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        self._digests = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
        for number, digest in enumerate(self._digests, 1):
            if not DIGEST.fullmatch(digest):
                raise InputError(f"--api-keys {path}: key {number} is no sha256 in hex: `printf %s KEY | sha256sum`")
        if not self._digests:
            raise InputError(f"--api-keys {path}: no keys in it, want a sha256 a line")

    def accept(self, authorization: str) -> bool:
        """Return whether ``Bearer KEY`` has a known key, in a time that does not depend on which."""
        scheme, _, key = authorization.partition(" ")
        digest = sha256(key.strip().encode()).hexdigest()
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return scheme.lower() == "bearer" and any(matches)


SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        options: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("aigid_requests", "Requests answered.", ("path", "status"), **options)
        self.seconds = Histogram(
            "aigid_request_seconds", "Seconds to an answer.", ("path",), buckets=SECONDS, **options
        )
        self.images = Counter("aigid_images", "Images by verdict, or why there is none.", ("result",), **options)
        self.batch = Histogram("aigid_batch_images", "Images scored together.", buckets=(1, 2, 4, 8, 16, 32), **options)
        self._waiting = Gauge("aigid_waiting_images", "Images that wait.", **options)
        self._held = Gauge("aigid_held_bytes", "Bytes of requests in memory.", **options)

    def watch(self, service: Any) -> None:
        """Take the gauges from a service whenever they are read."""
        self._waiting.set_function(lambda: service.engine.waiting)
        self._held.set_function(lambda: service.buffered)


PATHS = ("/", "/v1/detect", "/v1/models", "/health", "/ready", "/metrics", "/openapi.json")
GUARDED = ("/v1/", "/metrics")  # want a key, where there are keys
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses other sites' pages, unknown names of the host and unknown keys; counts and logs what was answered.

    The log has of an image its sha256, and of a path no more than that it is known.
    """

    def __init__(self, app: ASGIApp, keys: ApiKeys | None, hosts: frozenset[str], metrics: Metrics) -> None:
        self.app, self.keys, self.hosts, self.metrics = app, keys, hosts, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = perf_counter(), 500
        state = scope.setdefault("state", {})
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check(Headers(scope=scope), scope)
            await self.app(scope, receive, send_with_headers)
        except ServiceError as error:
            await error.response(scope, receive, send_with_headers)
        finally:
            seconds = perf_counter() - start
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            digests = " ".join(state.get("digests", ()))
            print_status(f"{scope['method'][:8]} {path} {status} {1000 * seconds:.0f} ms {digests}".rstrip())

    def _check(self, headers: Headers, scope: Scope) -> None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if self.hosts and host.strip("[]").lower() not in self.hosts:
            raise ServiceError(400, "unknown_host", f"host {host[:80]!r}: this service is called {min(self.hosts)}")
        if headers.get("sec-fetch-site") == "cross-site" and scope["method"] != "GET":
            raise ServiceError(403, "cross_site", "a page of another site may not ask")
        if self.keys and scope["path"].startswith(GUARDED) and not self.keys.accept(headers.get("authorization", "")):
            raise ServiceError(401, "unknown_key", "want `Authorization: Bearer KEY` with a known key")
