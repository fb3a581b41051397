"""Detectors on the embeddings of several backbones; torch is imported once the settings are known to be good."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from aigid.core.files import choose_device, device_name
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, mean_and_std, require_both_classes, require_finite

if TYPE_CHECKING:
    from aigid.detectors.gate.model import Head

FILE = "weights.safetensors"
Count = Annotated[int, Field(ge=1)]


class FusionSettings(Settings):
    """Each backbone's embedding is mapped to ``width`` numbers; ``hidden`` is the width of the gate's layer."""

    backbone: str
    dataset: str
    width: Count
    hidden: Count
    epochs: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    batch_size: Count
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GatedFusion(EmbeddingDetector):
    """P(generated) from several backbones' embeddings, weighted image by image; of one backbone, a linear layer."""

    Settings = FusionSettings
    kind: ClassVar[str] = "gate"

    def __init__(self, head: "Head", state: dict[str, Any]) -> None:
        self.head, self.state = head.requires_grad_(False), state

    @classmethod
    def fit(cls, settings: FusionSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Train on ``train``; val is unused."""
        require_both_classes(train, "train")
        require_finite(train, "train")
        import torch

        from aigid.detectors.gate.model import HEADS, train_head

        head = HEADS[cls.kind](train.widths, settings.width, settings.hidden)
        mean, std = mean_and_std(train.x)
        head.mean.copy_(torch.from_numpy(mean))
        head.scale.copy_(torch.from_numpy(1 / std))
        device = choose_device(device_name())
        x, y = torch.from_numpy(train.x).to(device), torch.from_numpy(train.y).to(device)
        train_head(head, lambda rows: x[rows], y, settings, ((cls.kind, "head", seed), (cls.kind, "rows", seed)))
        return cls(head, {"widths": head.widths, "width": settings.width, "hidden": settings.hidden})

    def p_generated(self, embeddings: Floats) -> Floats:
        from aigid.detectors.gate.model import by_rows

        return by_rows(self.head, embeddings, self.head.mean.device)

    def save(self, folder: Path) -> dict[str, Any]:
        from safetensors.torch import save_file

        save_file({name: tensor.cpu().contiguous() for name, tensor in self.head.state_dict().items()}, folder / FILE)
        return self.state

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        from safetensors.torch import load_file

        from aigid.detectors.gate.model import HEADS

        head = HEADS[cls.kind](state["widths"], state["width"], state["hidden"])
        head.load_state_dict(load_file(folder / FILE))
        return cls(head.to(choose_device(device_name())), state)


class ConcatenationFusion(GatedFusion):
    """The gate's first control: one linear layer on all backbones side by side."""

    kind = "concatenation"


class AverageFusion(GatedFusion):
    """The gate's second control: the mean of the scores of each backbone alone."""

    kind = "averaging"
