"""Randomness that depends on a named key, never on the order of calls."""

import hashlib

import numpy as np


def derive_seed(*key: str | int) -> int:
    """Return a 63-bit seed from the parts of a key: equal keys give equal seeds on every machine."""
    text = "\x1f".join(str(part) for part in key)
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8], "big") >> 1


def numpy_generator(*key: str | int) -> np.random.Generator:
    """Return a NumPy generator for a key, such as ``("jpeg65", seed, image_sha256)``."""
    return np.random.default_rng(derive_seed(*key))
