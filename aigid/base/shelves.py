"""Folders of ``$AIGID_CACHE``, each named by the hash of all that decides its content: ``<kind>/<name>/about.json``."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from aigid.base.errors import InputError
from aigid.base.files import cache_folder, write_json

ABOUT = "about.json"


def folder_of(kind: str, about: Mapping[str, object], beside: Mapping[str, object] | None = None) -> Path:
    """The folder for what ``about`` decides, which is written into it; InputError where nothing can be written.

    ``beside`` is written too by whoever comes first, and decides nothing.
    """
    folder = cache_folder() / kind / name_of(about)
    with writing():
        if not (folder / ABOUT).exists():
            write_json(folder / ABOUT, {**about, **(beside or {})})
    return folder


def name_of(about: Mapping[str, object]) -> str:
    """The folder's name that ``about`` gives it."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def writing() -> Iterator[None]:
    """Turn an OSError into a line that says which variable names the cache."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cache {cache_folder()}: {error.strerror}; $AIGID_CACHE names another folder") from None
