"""Download a dataset by its list: each image from where it is published, checked by its sha256."""

import hashlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from aigid.core import manifest, tables
from aigid.core.console import defer_interrupts
from aigid.core.errors import InputError, full_disk_errors, reason
from aigid.core.files import atomic_write, map_ahead, sha256
from aigid.core.folders import lock
from aigid.core.limits import MAX_DOWNLOAD_BYTES as MAX_BYTES
from aigid.data.lists import FetchList, Recipe
from aigid.images import ImageError

PARTS = ".fetch"  # below the dataset: downloads that are not finished, by the sha256 of their address and path
TIMEOUT = 30.0  # s, to connect and between two blocks
ATTEMPTS = 6
MAX_WAIT = 60.0  # s between two attempts, whatever the server asks for
BLOCK = 2**16  # bytes that are written at once, at most
DEAD = 10  # images in a row that a server did not answer for: it is gone
RETRIED = {408, 425, 429, 500, 502, 503, 504}
STOPPED = "stopped"
MISSING = "extra_missing"  # column of the manifest: why an image is not there


class UnavailableError(Exception):
    """Why an image cannot be had."""


class NoAnswerError(UnavailableError):
    """No server answered."""


@dataclass
class Downloader:
    """Downloads of one dataset into ``folder``; several threads may call it. ``signals`` gets what asks them to end."""

    folder: Path
    recipe: Recipe | None
    signals: list[int]
    _local: threading.local = field(default_factory=threading.local)
    _unanswered: Counter[str] = field(default_factory=Counter)  # images in a row, by server

    def fetch(self, path: str, url: str, digest: str) -> str:
        """Put the image of that sha256 at ``path``; return "" or why it cannot be had."""
        target, server = self.folder / path, url.split("/")[2]
        if self.signals:
            return STOPPED
        if target.is_file() and sha256(target) == digest:
            return ""
        if self._unanswered[server] >= DEAD:
            return f"not tried: {server} does not answer"
        part = self.folder / PARTS / hashlib.sha256(f"{url}\n{path}".encode(errors="surrogateescape")).hexdigest()
        try:
            content = self._checked(url, part, digest)
        except NoAnswerError as error:
            self._unanswered[server] += 1
            return str(error)
        except UnavailableError as error:
            return str(error)
        self._unanswered[server] = 0
        with atomic_write(target, self.folder / PARTS) as checked:  # a kill leaves nothing in the dataset
            checked.write_bytes(content)
        part.unlink()
        return ""

    def _checked(self, url: str, part: Path, digest: str, last: bool = False) -> bytes:
        """Return the image's file; where one of several pieces has another sha256, download all of it, a last time."""
        continued = self._download(url, part)
        try:
            content = part.read_bytes()
            try:
                content = self.recipe.apply(content) if self.recipe else content
            except ImageError as error:
                raise UnavailableError(f"{url}: {error}") from None
            if (actual := hashlib.sha256(content).hexdigest()) != digest:
                raise UnavailableError(f"{url}: its sha256 is {actual}, not {digest}")
        except UnavailableError:
            part.unlink()
            if continued and not last:
                return self._checked(url, part, digest, last=True)
            raise
        return content

    def _download(self, url: str, part: Path) -> bool:
        """Write all of a file to ``part``, which may hold its first bytes; return whether it came in several pieces."""
        last_error, wait = "", 0.0
        for attempt in range(ATTEMPTS):
            self._sleep(wait)
            wait = min(2.0**attempt / 2, MAX_WAIT)
            start = part.stat().st_size if part.is_file() else 0
            headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
            try:
                with self._session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                    if response.status_code == 416 and start:  # nothing is left, or the file is another one
                        return True
                    if response.status_code in RETRIED:
                        last_error, wait = f"{url}: HTTP {response.status_code}", _retry_after(response, wait)
                    elif not response.ok:
                        raise UnavailableError(f"{url}: HTTP {response.status_code} {response.reason}")
                    else:
                        return _write(response, part, start)
            except (requests.RequestException, HTTPError) as error:
                last_error = f"{url}: {reason(error, 200)}"
        raise NoAnswerError(f"{last_error} ({ATTEMPTS} attempts)")

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self.signals and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        if self.signals:
            raise UnavailableError(STOPPED)

    @property
    def _session(self) -> requests.Session:
        """Of this thread; connections are kept."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.headers["User-Agent"] = "aigid"
        session: requests.Session = self._local.session
        return session


def _retry_after(response: requests.Response, default: float) -> float:
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), MAX_WAIT) if seconds.isdecimal() else default


def _write(response: requests.Response, part: Path, start: int) -> bool:
    """Append the body to ``part``, or begin anew where the server sends all of it; return whether it was appended."""
    appended = response.headers.get("Content-Range", "").startswith(f"bytes {start}-") and response.status_code == 206
    size = start if appended else 0
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if appended else "wb", buffering=0) as file:
        while block := response.raw.read1(BLOCK):
            if (size := size + len(block)) > MAX_BYTES:
                part.unlink()
                raise UnavailableError(f"{response.url}: over {MAX_BYTES} bytes")
            file.write(block)
    return appended


def fetch(dataset: FetchList, folder: Path, jobs: int) -> list[tuple[str, str]]:
    """Fill a folder with the images of a list and its ``manifest.csv``; return (path, reason) of those that lack.

    What is there with the right sha256 stays, what was half downloaded goes on; an image that cannot be had keeps its
    row, with the reason in ``extra_missing``. ``jobs`` images are downloaded at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_other_manifest(folder / "manifest.csv")
    _refuse_in_the_way(folder, dataset.table["path"])
    with (
        lock(folder / ".fetch.lock", folder, "aigid fetch", keep=True),
        full_disk_errors(folder),
        defer_interrupts() as signals,
    ):
        downloader = Downloader(folder, dataset.settings.recipe, signals)
        items = list(zip(dataset.table["path"], dataset.urls, dataset.table["sha256"], strict=True))
        done = map_ahead(lambda item: downloader.fetch(*item), items, jobs, 4 * jobs)
        reasons = list(tqdm(done, dataset.name, len(items), unit="image", disable=None))
        if signals:
            raise KeyboardInterrupt(f"{folder}: stopped; the same command goes on from here")
        manifest.write(dataset.table.assign(**{MISSING: reasons}), folder / "manifest.csv")
        if not any(reasons):
            shutil.rmtree(folder / PARTS, ignore_errors=True)  # what a kill left
        with suppress(OSError):
            (folder / PARTS).rmdir()
    return [(path, reason) for path, reason in zip(dataset.table["path"], reasons, strict=True) if reason]


def _refuse_other_manifest(path: Path) -> None:
    if path.is_file() and MISSING not in tables.read(path, ()):
        raise InputError(f"{path}: not written by `aigid fetch`, which would replace it")


def _refuse_in_the_way(folder: Path, paths: Iterable[str]) -> None:
    """Raise InputError where a folder lies in an image's place, or a file in that of its folder."""
    targets = [folder / path for path in paths]
    for path in targets:
        if path.is_dir():
            raise InputError(f"{path}: is a folder, where the list has an image")
    for path in sorted({parent for target in targets for parent in target.relative_to(folder).parents}):
        if (folder / path).is_file():
            raise InputError(f"{folder / path}: is a file, where the list has a folder of images")
