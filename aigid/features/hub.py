"""The Hugging Face hub: used where it answers, done without where it does not."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

from aigid.base.errors import InputError


@contextmanager
def loading(what: str, wanted: str) -> Iterator[None]:
    """Turn any failure to load ``what`` into one line, and do not retry a hub that cannot be reached.

    ``wanted`` says which files of which repository are looked for.
    """
    offline = constants.HF_HUB_OFFLINE
    if not offline and not _reachable():
        constants.HF_HUB_OFFLINE = True  # files of an earlier download are still found
    levels = {name: logging.getLogger(name).level for name in ("", "huggingface_hub")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise OSError, RuntimeError, KeyError, UnpicklingError and more
        reason = " ".join(str(error).split())[:300]
        if constants.HF_HUB_OFFLINE:
            reason = f"no network, and not downloaded before: {wanted} from {constants.ENDPOINT}"
        raise InputError(f"cannot load {what}: {reason}; `--weights` or `weights:` names a local copy") from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def require(path: Path) -> None:
    """InputError where there is no local checkpoint of that name."""
    if not path.exists():
        raise InputError(f"weights {path}: no such file or folder")


def _reachable() -> bool:
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((endpoint.hostname, endpoint.port or 443), timeout=5):
            return True
    except OSError:
        return False
