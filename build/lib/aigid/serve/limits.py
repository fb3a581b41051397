"""What the service refuses: limits, API keys, and errors as one JSON shape."""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

from fastapi.responses import JSONResponse

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
