"""The fitted experts, whose mean P(generated) is the score; each is loaded when it is needed."""

from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from aigid.core import embeddings
from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.model import Expert, p_generated
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings
from aigid.detectors.protocol import BaseDetector, Scores, scores_frame
from aigid.detectors.samples import Floats, Samples
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import EncoderLoader, extract
from aigid.features.reader import DecodedImage

ENSEMBLE = "featdistill"
MAX_STREAM_BATCH = 32  # images of a batch at most where one expert is held at a time: a full-size one then takes 1.5 GB


class EnsembleMember(NamedTuple):
    """An expert of an ensemble: what it is, how to have it, and its ``file`` if it lies in one."""

    settings: ExpertSettings
    load: Callable[[], Expert]
    file: Path | None = None

    def backbone(self) -> BackboneSettings:
        """Its encoder as a backbone like any other."""
        assert self.file is not None, "only an expert on disk is a backbone"
        return experts.without_head(self.settings.backbone).model_copy(update={"weights": str(self.file)})

    def head(self) -> nn.Module:
        """Its head alone; of the file only that part is read where its format allows."""
        assert self.file is not None, "only an expert on disk has a head to read"
        tensors = checkpoints.read(self.file, experts.HEAD_FILE)
        head = experts.head(tensors["0.weight"].shape[1])
        head.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return head.eval()

    @torch.inference_mode()
    def probabilities(self, rows: Floats) -> Floats:
        """P(generated) (N,) float64 of the encoder's embeddings (N, D)."""
        return p_generated(self.head()(torch.from_numpy(rows.astype(np.float32)))).numpy().astype(np.float64)


class ExpertScores(NamedTuple):
    """By view and expert P(generated) (N,), NaN where the image failed; the images' ``status`` (N,); who failed."""

    scores: dict[str, dict[str, Floats]]
    status: NDArray[Any]
    failed: list[DecodedImage]

    def ensemble(self) -> Scores:
        """Return the scores of the ensemble alone."""
        messages = {sample.index: sample.message for sample in self.failed}
        return Scores(self.status, {view: members[ENSEMBLE] for view, members in self.scores.items()}, messages)


class FeatDistill(BaseDetector):
    """Members by name, in the order in which they are averaged; one expert is an ensemble of one."""

    Settings = FeatDistillSettings

    def __init__(self, members: dict[str, EnsembleMember], half: bool = False, trained: Sequence[str] = ()) -> None:
        self.members, self.half = members, half
        self.trained = list(trained)  # fingerprints of the experts' training, as far as they are known
        self._loader: EncoderLoader | None = None

    @classmethod
    def fit(cls, settings: FeatDistillSettings, train: Samples, val: Samples, seed: int, *, experts: Path) -> Self:
        """Return the ensemble of all experts of a folder; nothing is trained.

        InputError where one is missing, or is not what the settings say.
        """
        members: dict[str, EnsembleMember] = {}
        trained: list[str] = []
        for name, expert in settings.experts.items():
            model = bundle.load(experts / name)
            known = model.detector.members if isinstance(model.detector, FeatDistill) else {}
            if name not in known or known[name].settings != expert:
                raise InputError(f"{experts / name}: is not the expert {name} that the parameters describe")
            members[name] = known[name]
            trained += model.fingerprints
        return cls(members, half=True, trained=trained)

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return the mean of the experts' P(generated); they stay in memory from one call to the next."""
        self._loader = self._loader or EncoderLoader()
        return self.predict(samples, views, self._loader).ensemble()

    def predict(self, samples: Samples, views: Sequence[str], loader: EncoderLoader | None = None) -> ExpertScores:
        """Score images in each view with each expert and the ensemble.

        With a ``loader``, which keeps the experts in memory, images are decoded once for all of them; without, one
        expert is in memory at a time, and images are decoded once for each, in batches of at most ``MAX_STREAM_BATCH``.
        """
        encoders = {name: member.backbone() for name, member in self.members.items()}
        images = samples.table.reset_index(drop=True)
        scores: dict[str, dict[str, Floats]] = {view: {} for view in views}
        status, failed = np.full(len(images), embeddings.OK, dtype=object), dict[int, DecodedImage]()
        for name, member in self.members.items():
            extraction = extract(
                images,
                samples.root,
                encoders[name],
                views,
                samples.seed,
                [encoder for other, encoder in encoders.items() if loader and other != name],
                loader=loader or EncoderLoader(MAX_STREAM_BATCH),
                pixels=samples.pixels,
                cache_root=samples.cache_root,
            )
            status = np.where(status == embeddings.OK, np.array(extraction.status, dtype=object), status)
            failed |= {sample.index: sample for sample in extraction.failed}
            for view, rows in extraction.views.items():
                scores[view][name] = member.probabilities(rows)
        for view_scores in scores.values():
            view_scores[ENSEMBLE] = mean_probability(view_scores)
        return ExpertScores(scores, status, list(failed.values()))

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return those of the experts' training."""
        return self.trained

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the experts' encoders."""
        return [member.settings.backbone.model_dump(mode="json") for member in self.members.values()]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``<expert>.safetensors`` by the published names, one after the other, in float16 where ``half``."""
        dtype = torch.float16 if self.half else torch.float32
        for name, member in self.members.items():
            tensors = experts.state_dict(member.load())
            tensors = {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in tensors.items()}
            save_file(tensors, folder / f"{name}.safetensors")
        expert_settings = {name: member.settings.model_dump(mode="json") for name, member in self.members.items()}
        return {"half": self.half, "experts": expert_settings}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector that ``save`` wrote; the experts stay on disk."""
        members = {
            name: lazy_member(ExpertSettings(**values), folder / f"{name}.safetensors")
            for name, values in state["experts"].items()
        }
        for name, member in members.items():
            experts.check(member.settings, folder / f"{name}.safetensors")
        return cls(members, state["half"])


Detector = FeatDistill


def lazy_member(settings: ExpertSettings, file: Path) -> EnsembleMember:
    """Return the member whose checkpoint lies in a file."""
    return EnsembleMember(settings, lambda: experts.load(settings, file), file)


def mean_probability(probabilities: dict[str, Floats]) -> Floats:
    """Return the plain mean (N,) of the members' P(generated), summed in their order."""
    mean: Floats = reduce(np.add, probabilities.values()) / len(probabilities)
    return mean


def score_each(
    detector: FeatDistill, samples: Samples, views: Sequence[str], loader: EncoderLoader | None
) -> dict[str, pd.DataFrame]:
    """Return the scores files' rows of the ensemble and of each expert: each val and test image and view."""
    samples = samples.subset("val", "test")
    result = detector.predict(samples, views, loader)
    frames = {
        name: [scores_frame(samples.table, view, result.scores[view][name], result.status) for view in views]
        for name in (ENSEMBLE, *detector.members)
    }
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}
