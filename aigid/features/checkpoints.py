"""Checkpoints on disk: told by their bytes, refused where they hold more than tensors or do not fit."""

import hashlib
import logging
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from aigid.core.errors import InputError
from aigid.core.files import sha256

ENCODER_PREFIX = "vision_encoder."  # before the names of an encoder that has a head beside it
MAX_LISTED_KEYS = 3  # keys that a message names before it counts the rest


def hashes(path: str | None) -> dict[str, str]:
    """The sha256 of a checkpoint's file, or of each file in its folder; none where there is no local one."""
    if path is None:
        return {}
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).iterdir())
    return {file.name: sha256(file) for file in files if file.is_file() and not file.name.startswith(".")}


def state_dict_hash(network: nn.Module) -> str:
    """The sha256 of a network's tensors, on the CPU: their names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a file that ``torch.save`` wrote; InputError as ``reading``.

    With a ``prefix`` only those that begin with it, named without it.
    """
    if prefix and path.suffix == ".safetensors":
        with checkpoint_errors(path), safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    with checkpoint_errors(path):
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        for wrapper in ("state_dict", "model_state_dict", "model"):
            state = state.get(wrapper, state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a checkpoint that holds a head beside it, as FeatDistill's do; any other as it is."""
    part = {
        name.removeprefix(ENCODER_PREFIX): tensor for name, tensor in state.items() if name.startswith(ENCODER_PREFIX)
    }
    return part or state


def has_head(path: Path) -> bool:
    """Whether a ``.safetensors`` file holds encoder and head; only its header is read."""
    if path.suffix != ".safetensors":
        return False
    with checkpoint_errors(path), safe_open(path, "pt") as file:
        return any(name.startswith(ENCODER_PREFIX) for name in file.keys())  # noqa: SIM118


@contextmanager
def checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn a file that is no checkpoint, or one that would run code, into one line."""
    try:
        yield
    except InputError:
        raise
    except UnpicklingError as error:
        if "GLOBAL" not in str(error):
            raise InputError(f"weights {path}: not a checkpoint, or damaged") from None
        name = str(error).partition("GLOBAL ")[2].split()[0]
        raise InputError(f"weights {path}: refused: it holds {name}, not tensors alone") from None
    except Exception as error:  # safetensors, zipfile, torch and open_clip each raise their own
        if "TorchScript" in str(error):
            how = "torch.save(torch.jit.load(PATH).state_dict(), OTHER) takes its tensors out, if you trust it"
            raise InputError(f"weights {path}: refused: a TorchScript program; {how}") from None
        raise InputError(f"weights {path}: {' '.join(str(error).split())[:300] or type(error).__name__}") from None


def check(path: Path | str, missing: Iterable[str], unexpected: Iterable[str], misshapen: Iterable[str] = ()) -> None:
    """InputError that names the first keys of each kind, and how many there are, unless all are empty."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    told = [f"{kind}: {_examples(sorted(keys))}" for kind, keys in kinds.items() if keys]
    if told:
        raise InputError(f"weights {path}: do not fit this model; keys {'; '.join(told)}")


def load_strict(path: Path | str, state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """InputError as ``check`` unless the tensors are those of ``shapes``."""
    misshapen = [name for name in shapes.keys() & state.keys() if tuple(state[name].shape) != tuple(shapes[name])]
    check(path, shapes.keys() - state.keys(), state.keys() - shapes.keys(), misshapen)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Of a network's tensors, by name."""
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _examples(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED_KEYS} more" if len(keys) > MAX_LISTED_KEYS else ""
    return ", ".join(keys[:MAX_LISTED_KEYS]) + more


# The Hugging Face hub: used where it answers, done without where it does not.


@contextmanager
def hub_errors(what: str, wanted: str) -> Iterator[None]:
    """Turn any failure to load ``what`` into one line, and do not retry a hub that cannot be reached.

    ``wanted`` says which files of which repository are looked for.
    """
    offline = constants.HF_HUB_OFFLINE
    if not offline and not _hub_is_reachable():
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


def require_file(path: Path) -> None:
    """InputError where there is no local checkpoint of that name."""
    if not path.exists():
        raise InputError(f"weights {path}: no such file or folder")


def _hub_is_reachable() -> bool:
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((endpoint.hostname, endpoint.port or 443), timeout=5):
            return True
    except OSError:
        return False
