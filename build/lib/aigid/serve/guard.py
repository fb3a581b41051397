"""What every request passes: who may ask, the headers of every answer, and one line in the log."""

from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aigid.core.console import print_status
from aigid.serve.limits import ApiKeys, ServiceError
from aigid.serve.metrics import Metrics

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
