"""Two experts and their gate as one detector, which sees images as well as the experts' embeddings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.detectors.gate.model import HEADS, GatedHead, Head, by_rows, train_head
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import LabeledEmbeddings, require_both_classes, require_finite
from aigid.detectors.sef import model
from aigid.detectors.sef.model import Expert
from aigid.detectors.sef.settings import FusionSettings, SefSettings
from aigid.detectors.sef.training import backbone
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.encoder import normalize
from aigid.features.preprocess import resize_and_crop

DOMAINS = ("vae", "gan")  # in the order of the features
GATE = "gate.safetensors"
IMAGES = 64


class Sef(EmbeddingDetector):
    """P(generated) from the features of the experts, whose files are ``paths``."""

    Settings = SefSettings

    def __init__(self, head: GatedHead, settings: SefSettings, paths: Sequence[Path]) -> None:
        self.head, self.settings, self.paths = head, settings, list(paths)

    @classmethod
    def fit(
        cls, settings: SefSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int, *, experts: Path
    ) -> Self:
        """Return the gate over the experts of a folder, fitted on their features in ``train``; val is not needed."""
        return cls.train(settings, train, [experts / f"{domain}.safetensors" for domain in DOMAINS], seed)

    @classmethod
    def train(cls, settings: SefSettings, train: LabeledEmbeddings, paths: Sequence[Path], seed: int) -> Self:
        """Return the gate over the features of these experts, side by side in ``train``."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        if len(set(train.widths)) != 1 or len(train.widths) != len(paths):
            raise InputError(f"sef: features of widths {train.widths}, want {len(paths)} of one width")
        device = choose_device(device_name())
        x, y = (torch.from_numpy(part).to(device) for part in (train.x, train.y))
        head = fit_head(lambda rows: x[rows], y, len(paths), train.widths[0], settings.fusion, seed)
        return cls(head, settings, paths)

    @classmethod
    def fit_jointly(
        cls, settings: SefSettings, images: Sequence[np.ndarray], y: np.ndarray, paths: Sequence[Path], seed: int
    ) -> Self:
        """Return the same from images (H, W, 3) uint8 and labels (N,): the experts run anew at each step, uncached."""
        device = choose_device(device_name())
        features = _joint_backbone([model.load(settings.expert, path).to(device) for path in paths])
        width = features(images[:1]).shape[1] // len(paths)

        def of_rows(rows: Tensor) -> Tensor:
            return features([images[row] for row in rows.tolist()])

        head = fit_head(of_rows, torch.from_numpy(y).to(device), len(paths), width, settings.fusion, seed)
        return cls(head, settings, paths)

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return by_rows(self.head, embeddings, self.head.out.weight.device)

    def gate(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64: how much each expert counts."""
        return by_rows(self.head.weights, embeddings, self.head.out.weight.device)

    def score_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """P(generated) (N,) of images (H, W, 3) uint8, without a cache and with the adapters unmerged."""
        features = _joint_backbone(self.experts())
        blocks = [features(images[start : start + IMAGES]) for start in range(0, len(images), IMAGES)]
        return self.p_generated(torch.cat(blocks).cpu().numpy())

    @property
    def backbone(self) -> BackboneSettings | ConcatSettings:
        """The experts side by side, as one backbone."""
        return backbone(self.settings.expert, self.paths)

    def experts(self) -> list[Expert]:
        """Return the experts, on the gate's device, their adapters unmerged."""
        return [model.load(self.settings.expert, path).to(self.head.out.weight.device) for path in self.paths]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the gate with its classifier, and a copy of each expert."""
        save_file({name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}, folder / GATE)
        for domain, path in zip(DOMAINS, self.paths, strict=True):
            (folder / f"{domain}.safetensors").write_bytes(path.read_bytes())
        return {"settings": self.settings.model_dump(mode="json"), "width": self.head.widths[0]}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector that ``save`` wrote; the backbone itself is loaded when an image is to be scored."""
        settings = SefSettings(**state["settings"])
        head = GatedHead([state["width"]] * len(DOMAINS), None, settings.fusion.hidden)
        head.load_state_dict(load_file(folder / GATE))
        head.to(choose_device(device_name())).requires_grad_(False)
        return cls(head, settings, [folder / f"{domain}.safetensors" for domain in DOMAINS])


def fit_head(
    features: Callable[[Tensor], Tensor],
    y: Tensor,
    num_experts: int,
    width: int,
    settings: FusionSettings,
    seed: int,
    kind: str = "gate",
) -> Head:
    """Train a head of ``HEADS`` on labels (N,); ``features``: row numbers (B,) to all experts' features (B, K x D)."""
    head = HEADS[kind]([width] * num_experts, None, settings.hidden)
    return train_head(head, features, y, settings, (("sef", kind, seed), ("sef rows", seed)))


Detector = Sef


def _joint_backbone(experts: Sequence[Expert]) -> Callable[[Sequence[np.ndarray]], Tensor]:
    """Return the function from images to the experts' features side by side (B, K x D)."""

    @torch.no_grad()
    def features(images: Sequence[np.ndarray]) -> Tensor:
        pixels = np.stack([resize_and_crop(image, experts[0].preprocess) for image in images])
        return torch.cat(
            [expert.encoder(normalize(pixels, expert.preprocess, expert.device)) for expert in experts], dim=1
        )

    return features
