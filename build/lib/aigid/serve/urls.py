"""Download from public addresses alone.

Every address that a name resolves to is checked, on each redirect again, and the connection goes to a checked address:
a name that resolves otherwise a moment later (DNS rebinding) gains nothing.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from string import punctuation
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import h11

from aigid.core.errors import reason
from aigid.serve.limits import ServiceError

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
    """Return what lies at an address; ServiceError where it is not public, or there is no such file in time."""
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
