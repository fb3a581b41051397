"""What is done to embeddings before the kernel sees them."""

from typing import Literal

import numpy as np

from aigid.detectors.base.rows import standardization

Scaling = Literal["unit", "standard", "whitened"]  # rows of length 1; columns of deviation 1; and uncorrelated ones
FLOOR = 0.1  # added to the variance of each principal axis of standardised columns, whose mean is 1


def learn_scaling(x: np.ndarray, scaling: Scaling) -> dict[str, np.ndarray]:
    """The arrays that ``scale`` wants, from training rows (N, D).

    Whitened columns are principal axes, each divided by sqrt(variance + FLOOR): a kernel of random towers' embeddings,
    almost all of whose variance lies in a few axes, sees the others too.
    """
    if scaling == "unit":
        return {}
    mean, std = standardization(x)
    arrays = {"mean": mean.astype(np.float32), "std": std.astype(np.float32)}
    if scaling == "whitened":
        rows = (x - mean) / std
        variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
        arrays["axes"] = (axes / np.sqrt(variances + FLOOR)).astype(np.float32)
    return arrays


def scale(x: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N, D) to (N, D) float32."""
    if "mean" not in arrays:
        return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    x = (x - arrays["mean"]) / arrays["std"]
    return x @ arrays["axes"] if "axes" in arrays else x
