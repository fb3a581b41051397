"""The Hugging Face hub: used where it answers, done without where it does not."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants

from aigid.errors import InputError


@contextmanager
def loading(what: str, local: bool) -> Iterator[None]:
    """Turn any failure to load ``what`` into one line, and do not retry a hub that cannot be reached."""
    if local and not Path(what).exists():
        raise InputError(f"weights {what}: no such file or folder")
    offline = constants.HF_HUB_OFFLINE
    if not local and not offline and not _reachable():
        constants.HF_HUB_OFFLINE = True  # files of an earlier download are still found
    levels = {name: logging.getLogger(name).level for name in ("", "huggingface_hub")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except Exception as error:  # the libraries raise OSError, RuntimeError, KeyError, UnpicklingError and more
        unreachable = constants.HF_HUB_OFFLINE and not local
        reason = "no network, and not downloaded before" if unreachable else str(error).strip().splitlines()[0]
        raise InputError(f"cannot load {what}: {reason}; `--weights` or `weights:` names a local copy") from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _reachable() -> bool:
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((endpoint.hostname, endpoint.port or 443), timeout=5):
            return True
    except OSError:
        return False
