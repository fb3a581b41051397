"""Two experts and their gate as one detector, which sees images as well as the experts' embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.detectors.gate import HEADS, GatedHead, Head, by_rows, train_head
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, require_both_classes, require_finite
from aigid.detectors.sef import model
from aigid.detectors.sef.model import Expert
from aigid.detectors.sef.settings import FusionSettings, SefSettings
from aigid.detectors.sef.training import backbone
from aigid.features.backbones import BackboneSettings, ConcatSettings

DOMAINS = ("vae", "gan")  # in the order of the features
GATE = "gate.safetensors"


class Sef(EmbeddingDetector):
    """P(generated) from the features of the experts, whose files are ``paths``."""

    Settings = SefSettings

    def __init__(self, head: Head, settings: SefSettings, paths: Sequence[Path]) -> None:
        self.head, self.settings, self.paths = head, settings, list(paths)

    @classmethod
    def fit(
        cls, settings: SefSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int, *, experts: Path
    ) -> Self:
        """Return the gate over the experts of a folder, fitted on their features in ``train``; val is not needed."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        if len(set(train.widths)) != 1 or len(train.widths) != len(DOMAINS):
            raise InputError(f"sef: features of widths {train.widths}, want {len(DOMAINS)} of one width")
        head = fit_head(train, settings.fusion, seed)
        fitted = cls(head, settings, [experts / f"{domain}.safetensors" for domain in DOMAINS])
        fitted.logs = {"gate": head.log}
        return fitted

    def p_generated(self, embeddings: Floats) -> Floats:
        return by_rows(self.head, embeddings, self.head)

    def gate(self, embeddings: Floats) -> Floats:
        """Return the weights (N, K) float64 of the experts for (N, D)."""
        assert isinstance(self.head, GatedHead)
        return by_rows(self.head.weights, embeddings, self.head)

    @property
    def backbone(self) -> BackboneSettings | ConcatSettings:
        """The experts side by side, as one backbone."""
        return backbone(self.settings.expert, self.paths)

    def experts(self) -> list[Expert]:
        """Return the experts, on the gate's device, their adapters unmerged."""
        device = next(self.head.parameters()).device
        return [model.load(self.settings.expert, path).to(device) for path in self.paths]

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
        paths = [folder / f"{domain}.safetensors" for domain in DOMAINS]
        for path in paths:
            model.check(path, state["width"])
        return cls(head, settings, paths)


Detector = Sef


def fit_head(train: LabeledEmbeddings, settings: FusionSettings, seed: int, kind: str = "gate") -> Head:
    """Return a head of ``HEADS`` trained on the experts' features side by side."""
    device, head = choose_device(device_name()), HEADS[kind](train.widths, None, settings.hidden)
    x, y = (torch.from_numpy(part).to(device) for part in (train.x, train.y))
    return train_head(head, x, y, settings, (("sef", kind, seed), ("sef rows", seed)))
