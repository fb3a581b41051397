"""The gate and its two controls as detectors; torch is imported once the settings are known to be good."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from aigid.base.files import device_name
from aigid.detectors.base.rows import Rows, require_both_classes, require_finite
from aigid.detectors.fusion.settings import FusionSettings

if TYPE_CHECKING:
    from aigid.detectors.fusion.heads import Head

BLOCK = 8192  # rows at a time


class GatedTowers:
    """P(generated) from the towers' embeddings, weighed image by image; of one tower, a linear layer."""

    Settings = FusionSettings
    kind: ClassVar[str] = "gate"

    def __init__(self, head: "Head", facts: dict[str, Any]) -> None:
        self.head, self.facts = head.requires_grad_(False), facts

    @classmethod
    def fit(cls, settings: FusionSettings, train: Rows, val: Rows, seed: int) -> Self:
        """Train on ``train``; val is not needed."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        from aigid.detectors.fusion.training import train_head
        from aigid.device import choose_device

        head = train_head(cls.kind, train, settings, seed, choose_device(device_name()))
        return cls(head, {"widths": head.widths, "width": settings.width, "hidden": settings.hidden})

    def score(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        import torch

        x = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)).to(self.head.mean.device)
        return torch.cat([self.head(rows) for rows in x.split(BLOCK)]).cpu().numpy().astype(np.float64)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``weights.safetensors``."""
        weights = {name: tensor.cpu().numpy() for name, tensor in self.head.state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        return self.facts

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        import torch

        from aigid.detectors.fusion.training import build
        from aigid.device import choose_device

        head = build(cls.kind, facts["widths"], facts["width"], facts["hidden"])
        arrays = load_file(folder / "weights.safetensors")
        head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(head.to(choose_device(device_name())), facts)


class ConcatenatedTowers(GatedTowers):
    """The gate's first control: one linear layer on all towers side by side."""

    kind = "concatenation"


class AveragedTowers(GatedTowers):
    """The gate's second control: the mean of what each tower says alone."""

    kind = "averaging"
