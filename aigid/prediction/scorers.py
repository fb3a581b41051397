"""From images to a bundle's scores, from embeddings or from the pixels themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigid.core import params
from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, require_same
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.protocol import Scores as DetectorScores
from aigid.detectors.samples import Samples
from aigid.detectors.scoring import p_generated
from aigid.features.backbones import BackboneSettings, ConcatSettings, components

if TYPE_CHECKING:
    from aigid.features.extract import EncoderLoader, ExtractionResult


DecodeCallback = Callable[[str, np.ndarray], object]


@dataclass(frozen=True)
class BatchScores:
    """``status`` (N,) str and, of the images that are ok, ``scores`` (N,) and ``classes`` (N, K) by view."""

    status: np.ndarray
    messages: dict[int, str]
    scores: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]


class ExtractedSamples(Samples):
    """Images whose embeddings come from the row cache or were computed into it."""

    def __init__(self, table: pd.DataFrame, seed: int, extraction: "ExtractionResult") -> None:
        super().__init__(table, seed=seed)
        object.__setattr__(self, "extraction", extraction)

    @property
    def status(self) -> np.ndarray:
        """(N,) str."""
        return np.array(self.extraction.status)

    @property
    def messages(self) -> dict[int, str]:
        """Why images failed, by their index."""
        return {sample.place: sample.message for sample in self.extraction.failed}

    def embeddings(self, view: str, indices: np.ndarray) -> np.ndarray:
        """(n, D) float32."""
        return self.extraction.views[view][indices].astype(np.float32)


class Scorer:
    """Scores images for a bundle."""

    def __init__(self, model: Bundle, folder: Path, weights: str | None = None) -> None:
        self.model, self.folder = model, folder
        on_embeddings = isinstance(model.detector, EmbeddingDetector)
        self.backbone = backbone_of(model, folder, weights) if on_embeddings else None
        if not on_embeddings:
            require_same(model, Samples(pd.DataFrame(), seed=model.origin.seed))

    @property
    def towers(self) -> list[BackboneSettings]:
        """What must be loaded."""
        return components(self.backbone) if self.backbone else []

    def score(
        self,
        images: pd.DataFrame,
        views: Sequence[str],
        loader: "EncoderLoader",
        others: list[BackboneSettings],
        look: DecodeCallback,
    ) -> BatchScores:
        """Of images with ``path`` and ``sha256``; ``others`` are towers that want the same images."""
        samples = Samples(images, seed=self.model.origin.seed)
        if self.backbone:
            samples = self._extracted(images, views, loader, others, look)
        return to_batch_scores(self.model.detector.score(samples, views))

    def _extracted(
        self,
        images: pd.DataFrame,
        views: Sequence[str],
        loader: "EncoderLoader",
        others: list[BackboneSettings],
        look: DecodeCallback,
    ) -> ExtractedSamples:
        from aigid.features.extract import extract

        seed = self.model.origin.seed
        try:
            made = extract(images, Path(), self.backbone, views, seed, others, loader=loader, look=look)
        except InputError as error:
            raise InputError(f"{self.folder}: {error}{self._absent(str(error))}") from None
        if self.model.fingerprints and made.attributes["fingerprint"] != self.model.fingerprints:
            raise InputError(f"{self.folder}: these weights or libraries give other embeddings than it was trained on")
        return ExtractedSamples(images, seed, made)

    def _absent(self, said: str) -> str:
        """Where the backbone's weights come from, if it is they that cannot be had."""
        if "weights" not in said or "no such file" not in said:
            return ""
        named = {f"{it.model} {it.pretrained or it.revision or ''}".strip() for it in self.towers}
        return f" (the bundle takes {', '.join(sorted(named))}; --weights names a copy on disk)"


def backbone_of(model: Bundle, folder: Path, weights: str | None = None) -> BackboneSettings | ConcatSettings:
    """The backbone that a bundle's embeddings come from; InputError where the bundle does not say."""
    if own := getattr(model.detector, "backbone", None):
        return own
    sections: list[dict[str, Any]] = model.origin.backbones
    if not sections:
        raise InputError(f"{folder}: does not say which backbone its embeddings come from; train it again")
    kinds = [ConcatSettings if it["library"] == "joint" else BackboneSettings for it in sections]
    made = [params.validate(it, kind, f"{folder}: backbone") for it, kind in zip(sections, kinds, strict=True)]
    whole = (
        made[0] if len(made) == 1 else ConcatSettings(library="joint", parts=[p for it in made for p in components(it)])
    )
    if weights is None:
        return _resolve_bundled_weights(whole, folder)
    if isinstance(whole, ConcatSettings):
        raise InputError(f"--weights {weights}: {folder} takes {len(whole.parts)} backbones, not one")
    return whole.model_copy(update={"weights": weights})


def _resolve_bundled_weights(
    backbone: BackboneSettings | ConcatSettings, folder: Path
) -> BackboneSettings | ConcatSettings:
    """Weights that a bundle holds itself are named from its folder."""
    own = getattr(backbone, "weights", None)
    held = own is not None and (folder / own).is_file()
    return backbone.model_copy(update={"weights": str(folder / own)}) if held else backbone


def to_batch_scores(found: DetectorScores) -> BatchScores:
    """Scores (N,) as they are; of probabilities (N, K), what P(real) leaves."""
    scores = {view: p_generated(it) if it.ndim == 2 else it for view, it in found.values.items()}
    classes = {view: it for view, it in found.values.items() if it.ndim == 2}
    return BatchScores(np.array(found.status, str), found.messages, scores, classes)
