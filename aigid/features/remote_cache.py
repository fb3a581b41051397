"""Rows that machines share through a bucket: ``$AIGID_ROWS`` is its address, ``$AIGID_CACHE`` each machine's own copy.

A shard never changes and is named by its content, so that copying is all there is to sharing; what is cut short or
changed on its way is passed over, and its rows are computed.
"""

import hashlib
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from aigid.core.cache import write_lock
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, num_workers
from aigid.core.paths import RemotePath, as_path

ENV_VAR = "AIGID_ROWS"
LOG = logging.getLogger(__name__)


def download(folder: Path, pattern: str) -> set[str]:
    """Put into a shelf's ``folder`` what others have sent and it lacks; the names of all that they have."""
    there = remote_entry(folder)
    if there is None:
        return set()
    with _remote_root(), ThreadPoolExecutor(num_workers()) as pool:
        names = {name for name in there.files() if fnmatch(name, pattern) and "/" not in name}
        lacking = [name for name in names if not (folder / name).exists()]
        list(pool.map(lambda name: _fetch(there / name, folder / name), lacking))
    return names


def _fetch(there: RemotePath, here: Path) -> None:
    content = there.read_bytes()
    if hashlib.sha256(content).hexdigest() != here.stem:
        LOG.warning("%s is damaged: passed over", there)
        return
    with write_lock(), atomic_write(here) as part:
        part.write_bytes(content)


def upload(path: Path) -> None:
    """Let others have a file of a shelf."""
    there = remote_entry(path.parent)
    if there is not None:
        with _remote_root():
            (there / path.name).write_bytes(path.read_bytes())


class Uploader:
    """Sends files one after the other while more are made; to close it waits for the last."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._underway: deque[Future[None]] = deque()

    def __call__(self, path: Path) -> None:
        """Send a file soon; InputError where one before could not be sent."""
        while self._underway and self._underway[0].done():
            self._underway.popleft().result()
        self._underway.append(self._pool.submit(upload, path))

    def close(self) -> None:
        """InputError where one could not be sent."""
        with self._pool:
            for sending in self._underway:
                sending.result()


def remote_entry(folder: Path) -> RemotePath | None:
    """Where a shelf is shared, or None without ``$AIGID_ROWS``."""
    text = os.environ.get(ENV_VAR)
    if not text:
        return None
    place = as_path(text)
    if not isinstance(place, RemotePath):
        raise InputError(f"{ENV_VAR}={text}: want an address (s3://...); a folder that all see can be $AIGID_CACHE")
    return place / folder.name


@contextmanager
def _remote_root() -> Iterator[None]:
    """What is wrong with one file there is wrong with all."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{ENV_VAR}={os.environ[ENV_VAR]}: {error.strerror}") from None
