"""From a request to the images in it: files of a form, base64 in JSON, addresses in JSON, or a body that is one."""

import asyncio
import binascii
import socket
import ssl
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from string import punctuation
from typing import Annotated, NamedTuple
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import h11
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from aigid.core.errors import reason
from aigid.serve.limits import Limits, ServiceError

NAME_CHARS = 255  # of a file's name that is repeated
FORM_BYTES = 2**16  # of a body beside its files


class Upload(NamedTuple):
    """An image file; ``name`` is the client's."""

    name: str
    content: bytes


class Base64Image(BaseModel):
    """An image file in base64, with or without ``data:...;base64,``."""

    model_config = ConfigDict(extra="forbid")
    data: str
    name: str = ""


class JsonUpload(BaseModel):
    """The JSON form of a request."""

    model_config = ConfigDict(extra="forbid")
    images: list[Base64Image] = []
    urls: Annotated[list[str], Field(description="public addresses, where the service allows them")] = []


class MemoryParser(MultiPartParser):
    """Starlette's parser of forms, whose files never go to disk, and end where one is too long."""

    spool_max_size = 2**62
    file_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        super().on_part_data(data, start, end)
        file = self._current_part.file
        if file is not None and (file.size or 0) + end - start > self.file_bytes:
            raise too_many_bytes(file.filename or "a file", self.file_bytes)


def too_many_bytes(name: str, limit: int) -> ServiceError:
    """Return the error of a file or request that is too long."""
    return ServiceError(413, "too_many_bytes", f"{name[:NAME_CHARS]!r}: more than {limit} bytes")


async def receive(request: Request, limits: Limits, allow_urls: bool, hold: Callable[[int], None]) -> list[Upload]:
    """Return a request's images; ``hold`` gets the number of bytes of each part, and may refuse it.

    ServiceError where the request is too long, too slow, not of a known form, or without an image.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.seconds):
            if kind == "multipart/form-data":
                uploads = await _form(request, limits, hold)
            elif kind == "application/json":
                uploads = await _json(request, limits, allow_urls, hold)
            elif kind.startswith("image/") or kind == "application/octet-stream":
                uploads = [Upload("", await _body(request, limits.file_bytes, hold))]
            else:
                known = "want multipart/form-data, application/json, image/*"
                raise ServiceError(415, "media_type", f"{kind[:80]!r}: {known}")
    except TimeoutError:
        raise ServiceError(408, "too_slow", f"the request took more than {limits.seconds:g} s") from None
    if not uploads:
        raise ServiceError(422, "no_image", "no image in the request")
    for upload in uploads:
        if len(upload.content) > limits.file_bytes:
            raise too_many_bytes(upload.name, limits.file_bytes)
    names = [upload.name[:NAME_CHARS] or f"image-{number}" for number, upload in enumerate(uploads, 1)]
    return [Upload(name, upload.content) for name, upload in zip(names, uploads, strict=True)]


async def _chunks(request: Request, limit: int, hold: Callable[[int], None]) -> AsyncGenerator[bytes]:
    total, claimed = 0, request.headers.get("content-length", "0")
    if claimed.isdecimal() and int(claimed) > limit:
        raise too_many_bytes("the request", limit)
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise too_many_bytes("the request", limit)
        hold(len(chunk))
        yield chunk


async def _body(request: Request, limit: int, hold: Callable[[int], None]) -> bytes:
    return b"".join([chunk async for chunk in _chunks(request, limit, hold)])


async def _form(request: Request, limits: Limits, hold: Callable[[int], None]) -> list[Upload]:
    chunks = _chunks(request, limits.files * limits.file_bytes + FORM_BYTES, hold)
    parser = MemoryParser(request.headers, chunks, max_files=limits.files, max_fields=limits.files)
    parser.file_bytes = limits.file_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many_files(limits) from None
        raise ServiceError(422, "malformed", error.message) from None
    uploads, others = [], []
    for name, part in form.multi_items():
        if isinstance(part, UploadFile):
            uploads.append(Upload(part.filename or "", part.file.read()))
            part.file.close()
        else:
            others.append(name[:NAME_CHARS])
    if others:
        raise ServiceError(422, "malformed", f"field {others[0]!r}: not a file; options are in the query")
    return uploads


async def _json(request: Request, limits: Limits, allow_urls: bool, hold: Callable[[int], None]) -> list[Upload]:
    body = await _body(request, limits.files * limits.file_bytes * 4 // 3 + FORM_BYTES, hold)
    try:
        fields = JsonUpload.model_validate_json(body)
        if len(fields.images) + len(fields.urls) > limits.files:
            raise _too_many_files(limits)
        texts = [
            image.data.partition(",")[2] if image.data.startswith("data:") else image.data for image in fields.images
        ]
        images = [
            Upload(image.name, b64decode(text, validate=True)) for image, text in zip(fields.images, texts, strict=True)
        ]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ServiceError(422, "malformed", f"{where}: {first['msg']}".lstrip(": ")) from None
    except binascii.Error as error:
        raise ServiceError(422, "malformed", f"images: not base64: {error}") from None
    if fields.urls and not allow_urls:
        raise ServiceError(403, "urls_not_allowed", "this service takes no addresses (`aigid serve --allow-urls`)")
    contents = await asyncio.gather(*(download(url, limits.file_bytes, limits.seconds) for url in fields.urls))
    hold(sum(map(len, contents)))
    return images + [Upload(url, content) for url, content in zip(fields.urls, contents, strict=True)]


def _too_many_files(limits: Limits) -> ServiceError:
    return ServiceError(413, "too_many_files", f"more than {limits.files} images in a request")


MAX_REDIRECTS = 3
CHUNK = 2**16
GLOBAL_UNICAST = IPv6Network("2000::/3")  # without what stands for an IPv4 address, such as 64:ff9b::/96


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public internet, and stands for no other."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and (ip not in GLOBAL_UNICAST or ip.sixtofour or ip.teredo or ip.scope_id):
        return False
    return ip.is_global and not ip.is_multicast


async def download(url: str, max_bytes: int, seconds: float, allow: Callable[[str], bool] = is_public) -> bytes:
    """Return what lies at an address; ServiceError where it is not public, or there is no such file in time.

    Every address that a name resolves to is checked, on each redirect again, and the connection goes to a checked one:
    a name that resolves otherwise a moment later (DNS rebinding) gains nothing.
    """
    try:
        async with asyncio.timeout(seconds):
            for _ in range(MAX_REDIRECTS + 1):
                content, location = await _get(url, max_bytes, allow)
                if location is None:
                    return content
                url = urljoin(url, location)
    except TimeoutError:
        raise ServiceError(422, "url_failed", f"{url!r}: no answer within {seconds:g} s") from None
    except (OSError, ValueError, h11.ProtocolError) as error:
        raise ServiceError(422, "url_failed", f"{url!r}: {reason(error, 200)}") from None
    raise ServiceError(422, "url_failed", f"{url!r}: more than {MAX_REDIRECTS} redirects")


async def _get(url: str, max_bytes: int, allow: Callable[[str], bool]) -> tuple[bytes, str | None]:
    """Return the content at an address, or where it has moved."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ServiceError(422, "url_refused", f"{url!r}: want http://HOST/... or https://HOST/...")
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    host, port = parts.hostname.encode("idna").decode(), parts.port or (443 if secure else 80)
    resolved = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in resolved]
    if not all(map(allow, addresses)):
        raise ServiceError(422, "url_refused", f"{url!r}: not a public address")
    reader, writer = await asyncio.open_connection(addresses[0], port, ssl=secure, server_hostname=secure and host)
    try:
        return await _exchange(reader, writer, url, f"[{host}]" if ":" in host else host, max_bytes)
    finally:
        writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, host: str, max_bytes: int
) -> tuple[bytes, str | None]:
    connection, content, parts = h11.Connection(h11.CLIENT), bytearray(), urlsplit(url)
    target = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe=punctuation)
    host += f":{parts.port}" if parts.port else ""
    headers = [("Host", host), ("User-Agent", "aigid"), ("Accept", "image/*"), ("Connection", "close")]
    for event in (h11.Request(method="GET", target=target, headers=headers), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    while True:
        answer = connection.next_event()
        if answer is h11.NEED_DATA:
            connection.receive_data(await reader.read(CHUNK))
        elif isinstance(answer, h11.Response):
            if 300 <= answer.status_code < 400 and (location := dict(answer.headers).get(b"location")):
                return b"", location.decode("latin-1")
            if answer.status_code != 200:
                raise ServiceError(422, "url_failed", f"{url!r}: HTTP status {answer.status_code}")
        elif isinstance(answer, h11.Data):
            content += answer.data
            if len(content) > max_bytes:
                raise ServiceError(413, "too_many_bytes", f"{url!r}: more than {max_bytes} bytes")
        elif isinstance(answer, h11.EndOfMessage):
            return bytes(content), None
