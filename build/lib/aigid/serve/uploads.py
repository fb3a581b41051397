"""From a request to the images in it: files of a form, base64 in JSON, addresses in JSON, or a body that is one."""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, NamedTuple

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from aigid.serve import urls
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
                raise ServiceError(
                    415, "media_type", f"{kind[:80]!r}: want multipart/form-data, application/json, image/*"
                )
    except TimeoutError:
        raise ServiceError(408, "too_slow", f"the request took more than {limits.seconds:g} s") from None
    if not uploads:
        raise ServiceError(422, "no_image", "no image in the request")
    for upload in uploads:
        if len(upload.content) > limits.file_bytes:
            raise too_many_bytes(upload.name, limits.file_bytes)
    return [
        Upload(upload.name[:NAME_CHARS] or f"image-{number}", upload.content)
        for number, upload in enumerate(uploads, 1)
    ]


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
        images = [Upload(image.name, _from_base64(image.data)) for image in fields.images]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ServiceError(422, "malformed", f"{where}: {first['msg']}".lstrip(": ")) from None
    except binascii.Error as error:
        raise ServiceError(422, "malformed", f"images: not base64: {error}") from None
    if fields.urls and not allow_urls:
        raise ServiceError(403, "urls_not_allowed", "this service takes no addresses (`aigid serve --allow-urls`)")
    contents = await asyncio.gather(*(urls.download(url, limits.file_bytes, limits.seconds) for url in fields.urls))
    hold(sum(map(len, contents)))
    return images + [Upload(url, content) for url, content in zip(fields.urls, contents, strict=True)]


def _from_base64(text: str) -> bytes:
    return b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)


def _too_many_files(limits: Limits) -> ServiceError:
    return ServiceError(413, "too_many_files", f"more than {limits.files} images in a request")
