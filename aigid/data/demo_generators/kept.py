"""Trained generators, kept in the cache by all that decides their weights, so that two demo datasets share them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from aigid.files import atomic, cache_folder, sha256

HERE = Path(__file__).parent


def trained(net: nn.Module, train: Callable[[], None], tiles: np.ndarray, *facts: object) -> None:
    """Give ``net`` the weights that ``train()`` would give it: from the cache if they are there, else by training.

    ``facts`` with ``tiles``, the code of this package and PyTorch's version decide the weights; a damaged file counts
    as missing.
    """
    path = cache_folder() / "demo_generators" / f"{_name(net, tiles, facts)}.safetensors"
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        train()
        with atomic(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, part)


def _name(net: nn.Module, tiles: np.ndarray, facts: tuple[object, ...]) -> str:
    code = [sha256(file) for file in sorted(HERE.glob("*.py"))]
    about = [type(net).__name__, hashlib.sha256(tiles.tobytes()).hexdigest(), facts, code, torch.__version__]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
