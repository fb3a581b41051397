"""From inspected images to a bundle's scores."""

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigid.core import params
from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, require_same
from aigid.detectors.protocol import EmbeddingDetector, Scores, to_p_generated
from aigid.detectors.samples import Samples
from aigid.features.backbones import BackboneSettings, ConcatSettings, components
from aigid.prediction.inspection import InspectedImage, batch_by_size

if TYPE_CHECKING:
    from aigid.features.extract import EncoderLoader, ExtractionResult

AnyBackbone = BackboneSettings | ConcatSettings


@dataclass(frozen=True)
class ExtractedSamples(Samples):
    """Images whose embeddings come from the row cache or were computed into it."""

    extraction: "ExtractionResult | None" = None

    @property
    def status(self) -> np.ndarray:
        """Return (N,) str."""
        return np.array(self.extraction.status)

    @property
    def messages(self) -> dict[int, str]:
        return {sample.index: sample.message for sample in self.extraction.failed}

    def embeddings(self, view: str, indices: np.ndarray) -> np.ndarray:
        """Return (n, D) float32."""
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
    def backbones(self) -> list[BackboneSettings]:
        """Return the encoders that must be loaded."""
        return components(self.backbone) if self.backbone else []

    def score(
        self,
        images: Sequence[InspectedImage],
        views: Sequence[str],
        loader: "EncoderLoader",
        other_backbones: Sequence[BackboneSettings] = (),
        cache_root: Path | None = None,
    ) -> Scores:
        """Return the scores of readable images; ``other_backbones`` will embed the same images next.

        ``cache_root`` stands in for ``$AIGID_CACHE``.
        """
        table = pd.DataFrame({"path": [image.path for image in images], "sha256": [image.sha256 for image in images]})
        pixels = {image.sha256: image.pixels for image in images}
        samples = Samples(table, seed=self.model.origin.seed, pixels=pixels, cache_root=cache_root)
        if self.backbone:
            samples = self._extract(samples, views, loader, other_backbones)
        return self.model.detector.score(samples, views)

    def score_pixels(self, images: Iterable[np.ndarray], loader: "EncoderLoader") -> np.ndarray:
        """Return P(generated) (N,) of images (H, W, 3) uint8, of which nothing stays in the row cache."""
        inspected = (
            InspectedImage(f"{number}.png", sha256(pixels.tobytes()).hexdigest(), pixels)
            for number, pixels in enumerate(images)
        )
        with tempfile.TemporaryDirectory(prefix="aigid-") as folder:
            results = [
                self.score(batch, ("clean",), loader, cache_root=Path(folder)) for batch in batch_by_size(inspected)
            ]
        return np.concatenate([to_p_generated(result.values["clean"]) for result in results])

    def _extract(
        self, samples: Samples, views: Sequence[str], loader: "EncoderLoader", others: Sequence[BackboneSettings]
    ) -> ExtractedSamples:
        from aigid.features.extract import extract

        table, options = samples.table, {"pixels": samples.pixels, "cache_root": samples.cache_root}
        try:
            result = extract(table, samples.root, self.backbone, views, samples.seed, others, loader=loader, **options)
        except InputError as error:
            raise InputError(f"{self.folder}: {error}{self._missing_weights_hint(str(error))}") from None
        if self.model.fingerprints and result.attributes["fingerprint"] != self.model.fingerprints:
            raise InputError(f"{self.folder}: these weights or libraries give other embeddings than it was trained on")
        return ExtractedSamples(table, seed=samples.seed, extraction=result)

    def _missing_weights_hint(self, message: str) -> str:
        if "weights" not in message or "no such file" not in message:
            return ""
        names = {f"{part.model} {part.pretrained or part.revision or ''}".strip() for part in self.backbones}
        return f" (the bundle takes {', '.join(sorted(names))}; --weights names a copy on disk)"


def backbone_of(model: Bundle, folder: Path, weights: str | None = None) -> AnyBackbone:
    """Return the backbone that a bundle's embeddings come from; InputError where the bundle does not say."""
    if backbone := getattr(model.detector, "backbone", None):
        return backbone
    sections: list[dict[str, Any]] = model.origin.backbones
    if not sections:
        raise InputError(f"{folder}: does not say which backbone its embeddings come from; train it again")
    backbones = [
        params.validate(
            section, ConcatSettings if section["library"] == "joint" else BackboneSettings, f"{folder}: backbone"
        )
        for section in sections
    ]
    parts = [part for backbone in backbones for part in components(backbone)]
    joint = backbones[0] if len(backbones) == 1 else ConcatSettings(library="joint", parts=parts)
    if weights is None:
        return _resolve_bundled_weights(joint, folder)
    if isinstance(joint, ConcatSettings):
        raise InputError(f"--weights {weights}: {folder} takes {len(joint.parts)} backbones, not one")
    return joint.model_copy(update={"weights": weights})


def _resolve_bundled_weights(backbone: AnyBackbone, folder: Path) -> AnyBackbone:
    """Return the backbone with the weights that the bundle itself holds named from its folder."""
    name = getattr(backbone, "weights", None)
    bundled = name is not None and (folder / name).is_file()
    return backbone.model_copy(update={"weights": str(folder / name)}) if bundled else backbone
