"""The fitted experts, whose mean P(generated) is the verdict; each is loaded when it is wanted, and no sooner."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from aigid.base.errors import InputError
from aigid.detectors.base import models
from aigid.detectors.base.protocol import ImageDetector, Scores
from aigid.detectors.base.samples import Samples
from aigid.detectors.featdistill import expert as experts
from aigid.detectors.featdistill.expert import Expert, p_generated
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings
from aigid.features import weights
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import Towers


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


class FeatDistill(ImageDetector):
    """Members by name, in the order in which they are averaged; one expert is an ensemble of one."""

    Settings = FeatDistillSettings

    def __init__(self, members: dict[str, Member], half: bool = False) -> None:
        self.members, self.half = members, half
        self._trained: list[str] = []  # fingerprints of the experts' training, as far as they are known
        self._loader: Towers | None = None

    @classmethod
    def fit(cls, settings: FeatDistillSettings, train: Samples, val: Samples, seed: int, *, experts: Path) -> Self:
        """Return the ensemble of all experts of a folder; nothing is trained.

        InputError where one is missing, or is not what the settings say.
        """
        return cls.together(settings, {name: experts / name for name in settings.experts})

    @classmethod
    def together(cls, settings: FeatDistillSettings, folders: dict[str, Path]) -> Self:
        """Return the ensemble of the experts of these folders."""
        members, trained = {}, []
        for name, folder in folders.items():
            model = models.load(folder)
            member = model.detector.members.get(name)
            if member is None or member.settings != settings.experts[name]:
                raise InputError(f"{folder}: is not the expert {name} that the parameters describe")
            members[name] = member
            trained += model.fingerprints
        fitted = cls(members, half=True)
        fitted._trained = trained
        return fitted

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return the mean of the experts' P(generated); they stay in memory from one call to the next."""
        from aigid.detectors.featdistill import scoring

        self._loader = self._loader or Towers()
        images = samples.table.reset_index(drop=True)
        said = scoring.say(self, images, samples.root, views, samples.seed, self._loader)
        messages = {sample.place: sample.message for sample in said.failed}
        return Scores(said.status, {view: said.scores[view][scoring.ENSEMBLE] for view in views}, messages)

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return those of the experts' training."""
        return self._trained

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the experts' encoders."""
        return [member.settings.backbone.model_dump(mode="json") for member in self.members.values()]

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
