"""The fitted experts, whose mean P(generated) is the verdict."""

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file

from aigid.detectors.featdistill import expert as experts
from aigid.detectors.featdistill.expert import Expert
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings


class FeatDistill:
    """Experts by name, in the order in which they are averaged; a folder of one expert is an ensemble of one.

    ``files`` are theirs on disk, if they were loaded.
    """

    Settings = FeatDistillSettings

    def __init__(self, members: dict[str, tuple[ExpertSettings, Expert]], half: bool = False) -> None:
        self.members, self.half = members, half

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``<expert>.safetensors`` by the published names, in float16 where ``half``."""
        for name, (_, expert) in self.members.items():
            dtype = torch.float16 if self.half else torch.float32
            tensors = {key: it.detach().cpu().to(dtype).contiguous() for key, it in experts.state(expert).items()}
            save_file(tensors, folder / f"{name}.safetensors")
        return {
            "half": self.half,
            "experts": {name: how.model_dump(mode="json") for name, (how, _) in self.members.items()},
        }

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        settings = {name: ExpertSettings(**how) for name, how in facts["experts"].items()}
        members = {name: (how, experts.load(how, folder / f"{name}.safetensors")) for name, how in settings.items()}
        return cls(members, facts["half"])
