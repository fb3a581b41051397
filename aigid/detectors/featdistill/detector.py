"""The fitted experts, whose mean P(generated) is the score; each is loaded when it is needed."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import nn

from aigid.core import embeddings
from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.model import Expert, p_generated
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings
from aigid.detectors.protocol import ImageDetector, Scores
from aigid.detectors.samples import Samples, without_train
from aigid.detectors.scoring import scores_frame
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import EncoderLoader, extract
from aigid.features.reader import DecodedImage


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
        tensors = checkpoints.read(self.file, experts.HEAD_FILE)
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

    def __init__(self, members: dict[str, EnsembleMember], half: bool = False) -> None:
        self.members, self.half = members, half
        self._trained: list[str] = []  # fingerprints of the experts' training, as far as they are known
        self._loader: EncoderLoader | None = None

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
            model = bundle.load(folder)
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
        self._loader = self._loader or EncoderLoader()
        images = samples.table.reset_index(drop=True)
        result = predict(
            self, images, samples.root, views, samples.seed, self._loader, samples.pixels, samples.cache_root
        )
        messages = {sample.index: sample.message for sample in result.failed}
        return Scores(result.status, {view: result.scores[view][ENSEMBLE] for view in views}, messages)

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
            tensors = experts.state_dict(member.load())
            save_file(
                {key: tensor.detach().cpu().to(dtype).contiguous() for key, tensor in tensors.items()},
                folder / f"{name}.safetensors",
            )
        expert_settings = {name: member.settings.model_dump(mode="json") for name, member in self.members.items()}
        return {"half": self.half, "experts": expert_settings}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector that ``save`` wrote; the experts stay on disk."""
        settings = {name: ExpertSettings(**values) for name, values in state["experts"].items()}
        return cls(
            {name: lazy_member(values, folder / f"{name}.safetensors") for name, values in settings.items()},
            state["half"],
        )


Detector = FeatDistill


def lazy_member(settings: ExpertSettings, file: Path) -> EnsembleMember:
    """Return the member whose checkpoint lies in a file."""
    return EnsembleMember(settings, lambda: experts.load(settings, file), file)


def mean_probability(probabilities: dict[str, np.ndarray]) -> np.ndarray:
    """Return the plain mean (N,) of the members' P(generated), summed in their order."""
    values = list(probabilities.values())
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total / len(values)


ENSEMBLE = "featdistill"
MAX_STREAM_BATCH = 32  # images of a batch at most where one expert is held at a time: a full-size one then takes 1.5 GB


class ExpertScores(NamedTuple):
    """By view and expert P(generated) (N,), NaN where the image failed; the images' ``status`` (N,); who failed."""

    scores: dict[str, dict[str, np.ndarray]]
    status: np.ndarray
    failed: list[DecodedImage]


def predict(
    detector: FeatDistill,
    images: pd.DataFrame,
    root: Path,
    views: Sequence[str],
    seed: int,
    loader: EncoderLoader | None = None,
    pixels: Mapping[str, np.ndarray] | None = None,
    cache_root: Path | None = None,
) -> ExpertScores:
    """Score images in each view with each expert and the ensemble.

    With a ``loader``, which keeps the experts in memory, images are decoded once for all of them; without, one expert
    is in memory at a time, and images are decoded once for each, in batches of at most ``MAX_STREAM_BATCH``.
    """
    encoders = {name: member.backbone() for name, member in detector.members.items()}
    scores: dict[str, dict[str, np.ndarray]] = {view: {} for view in views}
    status, failed = np.full(len(images), embeddings.OK, dtype=object), {}
    for name, member in detector.members.items():
        others = [encoder for other, encoder in encoders.items() if loader and other != name]
        extraction = extract(
            images,
            root,
            encoders[name],
            views,
            seed,
            others,
            loader=loader or EncoderLoader(MAX_STREAM_BATCH),
            pixels=pixels,
            cache_root=cache_root,
        )
        status = np.where(status == embeddings.OK, np.array(extraction.status, dtype=object), status)
        failed |= {sample.index: sample for sample in extraction.failed}
        for view, rows in extraction.views.items():
            scores[view][name] = member.probabilities(rows)
    for view_scores in scores.values():
        view_scores[ENSEMBLE] = mean_probability(view_scores)
    return ExpertScores(scores, status, list(failed.values()))


def score(
    detector: FeatDistill,
    manifest: pd.DataFrame,
    root: Path,
    views: Sequence[str],
    seed: int,
    loader: EncoderLoader | None,
) -> dict[str, pd.DataFrame]:
    """Return the scores files' rows of the ensemble and of each expert: each val and test image and view."""
    rows = without_train(manifest)
    result = predict(detector, rows.reset_index(drop=True), root, views, seed, loader)
    return {
        name: pd.concat(
            [scores_frame(rows, view, result.scores[view][name], result.status) for view in views], ignore_index=True
        )
        for name in (ENSEMBLE, *detector.members)
    }
