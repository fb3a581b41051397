"""Read checkpoints from disk and the Hugging Face hub; refuse those that hold more than tensors or do not fit."""

import hashlib
import logging
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from aigid.core.errors import InputError, reason

ENCODER_PREFIX = "vision_encoder."  # before the names of an encoder whose checkpoint holds a head too
MAX_LISTED_KEYS = 3  # in a message; the rest is counted


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
        for wrapper in ("state_dict", "model_state_dict", "model", "params_ema", "params"):
            state = state.get(wrapper, state) if isinstance(state, dict) else state
        _require_tensors(path, state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items() if not is_count(name)}
        return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def header(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file without their numbers, which are not read."""
    with checkpoint_errors(path), safe_open(path, "pt") as file:
        names = [name for name in file.keys() if not is_count(name)]  # noqa: SIM118
        return {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}


def _require_tensors(path: Path, state: object) -> None:
    """Raise InputError where a checkpoint is no dictionary of tensors by their names."""
    if not isinstance(state, dict):
        raise InputError(f"weights {path}: holds a {type(state).__name__}, want a dictionary of tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"weights {path}: {name!r} is a {type(value).__name__}; want tensors by name alone")


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
        known = "no dictionary of tensors by name: " if isinstance(error, AttributeError) else ""
        raise InputError(f"weights {path}: {known}{reason(error)}") from None


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


def from_pretrained(kind: Any, *source: str | None, **options: object) -> Any:
    """Return what a class of transformers loads: no code of the repository is run, no progress bar goes to a pipe."""
    from transformers.utils import logging as messages

    if not sys.stderr.isatty():
        disable: Callable[[], None] = messages.disable_progress_bar
        disable()
    with quiet():
        return kind.from_pretrained(*source, trust_remote_code=False, **options)


def refuse_code(record: Mapping[str, Any], name: object) -> None:
    """Raise InputError where a repository's JSON names code of its own, which is never run."""
    if code := record.get("auto_map"):
        named = ", ".join(map(str, code.values() if isinstance(code, dict) else [code]))
        raise InputError(f"{name}: auto_map names code of the repository ({named}), which is never run")


@contextmanager
def hub_errors(name: str, files: str, advice: str = "") -> Iterator[None]:
    """Turn any failure to load ``name`` from the hub into one line; a hub that cannot be reached is tried once.

    ``files`` says which files of which repository are looked for, ``advice`` where else they are.
    """
    offline = constants.HF_HUB_OFFLINE
    if not offline and not _hub_is_reachable():
        constants.HF_HUB_OFFLINE = True  # files of an earlier download are still used
    try:
        with quiet():
            yield
    except InputError:
        raise
    except Exception as error:  # the libraries raise OSError, RuntimeError, KeyError, UnpicklingError and more
        why = reason(error)
        if constants.HF_HUB_OFFLINE and _lacks_network(error):
            why = f"no network, and not downloaded before: {files} from {constants.ENDPOINT}"
        local = "`--weights` or `weights:` names a local copy"
        raise InputError(f"cannot load {name}: {why}; {advice}{local}") from error
    finally:
        constants.HF_HUB_OFFLINE = offline


@contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from warnings, as that weights are random which are only read later."""
    levels = {logger: logging.getLogger(logger).level for logger in ("", "huggingface_hub", "transformers")}
    for logger in levels:
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)


def _lacks_network(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came of, is that of a file that only the network has."""
    while error is not None:
        if isinstance(error, (LocalEntryNotFoundError, ConnectionError, URLError)):
            return True
        error = error.__cause__ or error.__context__
    return False


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
