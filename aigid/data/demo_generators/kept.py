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

from aigid.base.files import atomic, cache_folder, sha256

HERE = Path(__file__).parent


def trained(
    make: Callable[[], nn.Module], train: Callable[[], nn.Module], tiles: np.ndarray, *facts: object
) -> nn.Module:
    """What ``train()`` gives: from the cache, into the untrained ``make()``, if it is there.

    ``facts`` with ``tiles``, the code of this package and PyTorch's version decide the weights; a damaged file counts
    as missing.
    """
    path = cache_folder() / "demo_generators" / f"{_name(tiles, facts)}.safetensors"
    try:
        weights = load_file(path)
    except (OSError, SafetensorError):
        net = train()
        with atomic(path) as part:
            save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, part)
        return net
    with torch.random.fork_rng(devices=[]):
        net = make().to(memory_format=torch.channels_last)
    net.load_state_dict(weights)
    return net


def _name(tiles: np.ndarray, facts: tuple[object, ...]) -> str:
    code = [sha256(file) for file in sorted(HERE.glob("*.py"))]
    about = [hashlib.sha256(tiles.tobytes()).hexdigest(), facts, code, torch.__version__]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()
