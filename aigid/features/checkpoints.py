"""Read checkpoints from disk and the Hugging Face hub; refuse those that hold more than tensors or do not fit."""

import hashlib
import logging
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
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

ENCODER_PREFIX = "vision_encoder."  # before the names of an encoder whose checkpoint holds a head too
MAX_LISTED_KEYS = 3  # in a message; the rest is counted


def hashes(path: str | None) -> dict[str, str]:
    """Return the sha256 of a checkpoint's file, or of each file in its folder; none without a path."""
    if path is None:
        return {}
    files = [Path(path)] if Path(path).is_file() else sorted(Path(path).iterdir())
    return {file.name: sha256(file) for file in files if file.is_file() and not file.name.startswith(".")}


def state_dict_hash(network: nn.Module) -> str:
    """Return the sha256 of a network's tensors on the CPU: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Return the tensors of a file, ``.safetensors`` or torch's; InputError as ``checkpoint_errors``.

    With a ``prefix`` only those that begin with it, named without it. Counts of batch norms are left out.
    """
    with checkpoint_errors(path):
        if prefix and path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                names = [name for name in file.keys() if name.startswith(prefix) and not is_count(name)]  # noqa: SIM118
                return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        for wrapper in ("state_dict", "model_state_dict", "model"):
            state = state.get(wrapper, state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items() if not is_count(name)}
        return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's tensors of a checkpoint that holds a head too, as FeatDistill's; any other unchanged."""
    encoder = {name: tensor for name, tensor in state.items() if name.startswith(ENCODER_PREFIX)}
    return {name.removeprefix(ENCODER_PREFIX): tensor for name, tensor in encoder.items()} or state


def has_head(path: Path) -> bool:
    """Return whether a ``.safetensors`` file holds encoder and head; only its header is read."""
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
            hint = "torch.save(torch.jit.load(PATH).state_dict(), OTHER) takes its tensors out, if you trust it"
            raise InputError(f"weights {path}: refused: a TorchScript program; {hint}") from None
        raise InputError(f"weights {path}: {' '.join(str(error).split())[:300] or type(error).__name__}") from None


def check(
    path: Path | str, missing: Collection[str], unexpected: Collection[str], shape_mismatches: Collection[str] = ()
) -> None:
    """Raise InputError that names the first keys of each kind and their number, unless all are empty."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shape_mismatches}
    messages = [f"{kind}: {_examples(sorted(keys))}" for kind, keys in kinds.items() if keys]
    if messages:
        raise InputError(f"weights {path}: do not fit this model; keys {'; '.join(messages)}")


def load_strict(path: Path | str, state: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise InputError as ``check`` unless the tensors have these names and shapes."""
    mismatches = [name for name in shapes.keys() & state.keys() if tuple(state[name].shape) != tuple(shapes[name])]
    check(path, shapes.keys() - state.keys(), state.keys() - shapes.keys(), mismatches)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of a network's tensors by name, but for counts."""
    return {name: tensor.shape for name, tensor in network.state_dict().items() if not is_count(name)}


def is_count(name: str) -> bool:
    """Return whether a tensor is a batch norm's count of batches: no weight."""
    return name.endswith("num_batches_tracked")


def _examples(keys: list[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED_KEYS} more" if len(keys) > MAX_LISTED_KEYS else ""
    return ", ".join(keys[:MAX_LISTED_KEYS]) + more


@contextmanager
def hub_errors(name: str, files: str, advice: str = "") -> Iterator[None]:
    """Turn any failure to load ``name`` from the hub into one line; a hub that cannot be reached is tried once.

    ``files`` says which files of which repository are looked for, ``advice`` where else they are.
    """
    offline = constants.HF_HUB_OFFLINE
    if not offline and not _hub_is_reachable():
        constants.HF_HUB_OFFLINE = True  # files of an earlier download are still used
    levels = {logger: logging.getLogger(logger).level for logger in ("", "huggingface_hub")}
    for logger in levels:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise OSError, RuntimeError, KeyError, UnpicklingError and more
        reason = " ".join(str(error).split())[:300]
        if constants.HF_HUB_OFFLINE:
            reason = f"no network, and not downloaded before: {files} from {constants.ENDPOINT}"
        local = "`--weights` or `weights:` names a local copy"
        raise InputError(f"cannot load {name}: {reason}; {advice}{local}") from error
    finally:
        constants.HF_HUB_OFFLINE = offline
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)


def require_file(path: Path) -> None:
    """Raise InputError where there is no local checkpoint of that name."""
    if not path.exists():
        raise InputError(f"weights {path}: no such file or folder")


def _hub_is_reachable() -> bool:
    endpoint = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((endpoint.hostname or "", endpoint.port or 443), timeout=5):
            return True
    except OSError:
        return False
