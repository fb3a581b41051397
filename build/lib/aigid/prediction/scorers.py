"""From inspected images to a bundle's scores."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import params
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, require_same
from aigid.detectors.protocol import EmbeddingDetector, Scores, blank_not_finite, to_p_generated
from aigid.detectors.samples import Floats, Ints, Samples
from aigid.features.backbones import BackboneSettings, ConcatSettings, components
from aigid.images import Pixels
from aigid.prediction.inspection import InspectedImage, batch_by_size

if TYPE_CHECKING:
    from aigid.features.extract import EncoderLoader
    from aigid.features.reader import DecodedImage


@dataclass(frozen=True, kw_only=True)
class EmbeddedSamples(Samples):
    """Images with their embeddings (N, D) by view; ``statuses`` and ``failed`` say which have none."""

    by_view: Mapping[str, NDArray[np.floating]]
    statuses: Sequence[str]
    failed: Sequence["DecodedImage"] = ()

    @cached_property
    def status(self) -> NDArray[Any]:
        """(N,) str."""
        return np.array(self.statuses)

    @property
    def messages(self) -> dict[int, str]:
        return {sample.index: sample.message for sample in self.failed}

    def embeddings(self, view: str, indices: Ints | slice = slice(None)) -> Floats:
        """Return (n, D) float32."""
        return self.by_view[view][indices].astype(np.float32)


class Scorer:
    """Scores images for a bundle; ``backbones`` are the encoders that must be loaded."""

    def __init__(self, model: Bundle, folder: Path, weights: str | None = None) -> None:
        self.model, self.folder = model, folder
        self.backbone: BackboneSettings | ConcatSettings | None = None
        if isinstance(model.detector, EmbeddingDetector):
            self.backbone = backbone_of(model, folder, weights)
        else:
            require_same(model, Samples(pd.DataFrame(), seed=model.origin.seed))
        self.backbones = components(self.backbone) if self.backbone else []

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
        samples = self._samples(images, cache_root)
        if self.backbone:
            from aigid.features.extract import extract

            table, seed, pixels = samples.table, samples.seed, samples.pixels
            with self._errors():
                result = extract(
                    table, samples.root, self.backbone, views, seed, other_backbones, loader=loader, pixels=pixels
                )
                self._require_fingerprints(result.attributes["fingerprint"])
            samples = EmbeddedSamples(
                table, seed=seed, by_view=result.views, statuses=result.status, failed=result.failed
            )
        return blank_not_finite(self.model.detector.score(samples, views))

    def score_once(self, images: Sequence[InspectedImage], views: Sequence[str], loader: "EncoderLoader") -> Scores:
        """Return the scores of readable images without the row cache: embeddings stay in memory.

        What a detector of images caches besides lies in a temporary folder until it is done.
        """
        if not self.backbone:
            with tempfile.TemporaryDirectory(prefix="aigid-") as folder:
                return self.score(images, views, loader, cache_root=Path(folder))
        from aigid.features.pipeline import embed

        samples = self._samples(images)
        with self._errors():
            backbones = [loader.load(part, len(images), use_cache=False) for part in self.backbones]
            self._require_fingerprints([backbone.fingerprint for backbone in backbones])
            by_view = embed(samples.table["sha256"], samples.pixels, backbones, views, samples.seed)
        samples = EmbeddedSamples(samples.table, seed=samples.seed, by_view=by_view, statuses=[OK] * len(images))
        return blank_not_finite(self.model.detector.score(samples, views))

    def score_pixels(self, images: Iterable[Pixels], loader: "EncoderLoader") -> Floats:
        """Return P(generated) (N,) of images (H, W, 3) uint8, of which nothing stays in the row cache."""
        inspected = (InspectedImage("", sha256(pixels.tobytes()).hexdigest(), pixels) for pixels in images)
        results = [self.score_once(batch, ("clean",), loader) for batch in batch_by_size(inspected)]
        return np.concatenate([to_p_generated(result.values["clean"]) for result in results])

    def _samples(self, images: Sequence[InspectedImage], cache_root: Path | None = None) -> Samples:
        table = pd.DataFrame({"path": [image.path for image in images], "sha256": [image.sha256 for image in images]})
        pixels = {image.sha256: image.pixels for image in images if image.pixels is not None}
        return Samples(table, seed=self.model.origin.seed, pixels=pixels, cache_root=cache_root)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.folder}: {error}{self._missing_weights_hint(str(error))}") from None

    def _require_fingerprints(self, fingerprints: list[str]) -> None:
        if self.model.fingerprints and fingerprints != self.model.fingerprints:
            raise InputError("these weights or libraries give other embeddings than it was trained on")

    def _missing_weights_hint(self, message: str) -> str:
        if "weights" not in message or "no such file" not in message:
            return ""
        names = {f"{part.model} {part.pretrained or part.revision or ''}".strip() for part in self.backbones}
        return f" (the bundle takes {', '.join(sorted(names))}; --weights names a copy on disk)"


def backbone_of(model: Bundle, folder: Path, weights: str | None = None) -> BackboneSettings | ConcatSettings:
    """Return the backbone that a bundle's embeddings come from; InputError where the bundle does not say."""
    fixed: BackboneSettings | ConcatSettings | None = getattr(model.detector, "backbone", None)
    if fixed is not None:
        return fixed
    if not model.origin.backbones:
        raise InputError(f"{folder}: does not say which backbone its embeddings come from; train it again")
    parts: list[BackboneSettings] = []
    for section in model.origin.backbones:
        kind: type[BackboneSettings | ConcatSettings]
        kind = ConcatSettings if section.get("library") == "joint" else BackboneSettings
        backbone = params.validate(section, kind, f"{folder}: backbone")
        parts += components(backbone)
    if len(model.origin.backbones) > 1:
        backbone = ConcatSettings(library="joint", parts=parts)
    if isinstance(backbone, ConcatSettings):
        if weights is not None:
            raise InputError(f"--weights {weights}: {folder} takes {len(backbone.parts)} backbones, not one")
        return backbone
    bundled = folder / backbone.weights if backbone.weights else None
    path = weights or (str(bundled) if bundled and bundled.is_file() else backbone.weights)
    return backbone.model_copy(update={"weights": path})
