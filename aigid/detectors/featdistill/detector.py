"""The fitted experts, whose mean P(generated) is the verdict; each is loaded when it is wanted, and no sooner."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from aigid.detectors.featdistill import expert as experts
from aigid.detectors.featdistill.expert import Expert, p_generated
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings
from aigid.features import weights
from aigid.features.backbones import BackboneSettings


class Member(NamedTuple):
    """An expert of an ensemble: what it is, how to have it, and its ``file`` if it lies in one."""

    settings: ExpertSettings
    load: Callable[[], Expert]
    file: Path | None = None

    def backbone(self) -> BackboneSettings:
        """Its encoder as a backbone like any other."""
        assert self.file is not None, "only an expert on disk is a backbone"
        return experts.bare(self.settings.backbone).model_copy(update={"weights": str(self.file)})

    def head(self) -> nn.Module:
        """Its head alone; of the file only that part is read where its format allows."""
        tensors = weights.read(self.file, experts.HEAD)
        head = experts.head(tensors["0.weight"].shape[1])
        head.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return head.eval()

    @torch.inference_mode()
    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """P(generated) (N,) float64 of the encoder's embeddings (N, D)."""
        logits = self.head()(torch.from_numpy(embeddings.astype(np.float32)))
        return p_generated(logits).numpy().astype(np.float64)


class FeatDistill:
    """Members by name, in the order in which they are averaged; one expert is an ensemble of one."""

    Settings = FeatDistillSettings

    def __init__(self, members: dict[str, Member], half: bool = False) -> None:
        self.members, self.half = members, half

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``<expert>.safetensors`` by the published names, one after the other, in float16 where ``half``."""
        dtype = torch.float16 if self.half else torch.float32
        for name, member in self.members.items():
            tensors = experts.state(member.load())
            save_file(
                {key: it.detach().cpu().to(dtype).contiguous() for key, it in tensors.items()},
                folder / f"{name}.safetensors",
            )
        about = {name: member.settings.model_dump(mode="json") for name, member in self.members.items()}
        return {"half": self.half, "experts": about}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote; the experts stay on disk."""
        settings = {name: ExpertSettings(**how) for name, how in facts["experts"].items()}
        return cls(
            {name: on_disk(how, folder / f"{name}.safetensors") for name, how in settings.items()}, facts["half"]
        )


Detector = FeatDistill


def on_disk(settings: ExpertSettings, file: Path) -> Member:
    """The member whose checkpoint lies in a file."""
    return Member(settings, lambda: experts.load(settings, file), file)


def ensemble(probabilities: dict[str, np.ndarray]) -> np.ndarray:
    """The plain mean (N,) of the members' P(generated), summed in their order."""
    values = list(probabilities.values())
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)
