"""From images to a bundle's scores, from embeddings or from the pixels themselves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigid.base import params
from aigid.base.errors import InputError
from aigid.detectors.base.models import Model
from aigid.detectors.base.protocol import Attributor
from aigid.detectors.base.scoring import generated
from aigid.features.backbones import BackboneSettings, JointSettings, towers
from aigid.store import OK

if TYPE_CHECKING:
    from aigid.features.extract import Towers

# Of each detector that sees images: what makes, of (model, folder), a function of (images, view) that gives status
# (N,), and scores (N,) or class probabilities (N, K), class 0 being real.
IMAGE_LEVEL = {
    "aeroblade": "aigid.detectors.aeroblade.predicting:Predictor",
    "cnn": "aigid.detectors.cnn.predicting:Predictor",
    "featdistill": "aigid.detectors.featdistill.predicting:Predictor",
    "hub_classifier": "aigid.importers.hub_classifier:Predictor",
    "sef": "aigid.detectors.sef.predicting:Predictor",
}
FEWEST = 8  # rows that a detector is shown: of fewer a product's last bits differ, of which GenDet makes 2e-6
Look = Callable[[str, np.ndarray], object]


@dataclass(frozen=True)
class Scores:
    """``status`` (N,) str and, of the images that are ok, ``scores`` (N,) and ``classes`` (N, K) by view."""

    status: np.ndarray
    messages: dict[int, str]
    scores: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]


class EmbeddingScorer:
    """Scores embeddings, which come from the row cache or are computed into it."""

    def __init__(self, model: Model, folder: Path, weights: str | None = None) -> None:
        self.model, self.folder = model, folder
        self.backbone = backbone_of(model, folder, weights)

    @property
    def towers(self) -> list[BackboneSettings]:
        """What must be loaded."""
        return towers(self.backbone)

    def score(
        self, images: pd.DataFrame, views: Sequence[str], loader: "Towers", others: list[BackboneSettings], look: Look
    ) -> Scores:
        """Of images with ``path`` and ``sha256``; ``others`` are towers that want the same images."""
        from aigid.features.extract import extract

        seed, detector = self.model.origin.seed, self.model.detector
        try:
            found = extract(images, Path(), self.backbone, views, seed, others, loader=loader, look=look)
        except InputError as error:
            raise InputError(f"{self.folder}: {error}{self._absent(str(error))}") from None
        if self.model.fingerprints and found.attributes["fingerprint"] != self.model.fingerprints:
            raise InputError(f"{self.folder}: these weights or libraries give other embeddings than it was trained on")
        status = np.array(found.status)
        values = {view: _on(detector, rows, status == OK) for view, rows in found.views.items()}
        messages = {sample.place: sample.message for sample in found.failed}
        return collect(status, messages, values)

    def _absent(self, said: str) -> str:
        """Where the backbone's weights come from, if it is they that cannot be had."""
        if "weights" not in said or "no such file" not in said:
            return ""
        named = {f"{it.model} {it.pretrained or it.revision or ''}".strip() for it in self.towers}
        return f" (the bundle takes {', '.join(sorted(named))}; --weights names a copy on disk)"


class ImageScorer:
    """Scores images themselves."""

    towers = ()

    def __init__(self, model: Model, folder: Path) -> None:
        module, name = IMAGE_LEVEL[model.name].split(":")
        self.model, self._predict = model, getattr(import_module(module), name)(model, folder)

    def score(
        self, images: pd.DataFrame, views: Sequence[str], loader: "Towers", others: list[BackboneSettings], look: Look
    ) -> Scores:
        """As an ``EmbeddingScorer``'s; towers and looking are none of its business."""
        found = {view: self._predict(images, view) for view in views}
        status = next(iter(found.values()))[0]
        return collect(np.array(status, str), {}, {view: values for view, (_, values) in found.items()})


def scorer(model: Model, folder: Path, weights: str | None = None) -> EmbeddingScorer | ImageScorer:
    """What scores images for a bundle."""
    if model.name in IMAGE_LEVEL:
        return ImageScorer(model, folder)
    return EmbeddingScorer(model, folder, weights)


def backbone_of(model: Model, folder: Path, weights: str | None = None) -> BackboneSettings | JointSettings:
    """The backbone that a bundle's embeddings come from; InputError where the bundle does not say."""
    sections: list[dict[str, Any]] = model.origin.backbones
    if not sections:
        raise InputError(f"{folder}: does not say which backbone its embeddings come from; train it again")
    kinds = [JointSettings if it["library"] == "joint" else BackboneSettings for it in sections]
    made = [params.check(it, kind, f"{folder}: backbone") for it, kind in zip(sections, kinds, strict=True)]
    whole = made[0] if len(made) == 1 else JointSettings(library="joint", parts=[p for it in made for p in towers(it)])
    if weights is None:
        return _at_home(whole, folder)
    if isinstance(whole, JointSettings):
        raise InputError(f"--weights {weights}: {folder} takes {len(whole.parts)} backbones, not one")
    return whole.model_copy(update={"weights": weights})


def _at_home(backbone: BackboneSettings | JointSettings, folder: Path) -> BackboneSettings | JointSettings:
    """Weights that a bundle holds itself are named from its folder."""
    own = getattr(backbone, "weights", None)
    held = own is not None and (folder / own).is_file()
    return backbone.model_copy(update={"weights": str(folder / own)}) if held else backbone


def collect(status: np.ndarray, messages: dict[int, str], values: dict[str, np.ndarray]) -> Scores:
    """Scores (N,) as they are; of probabilities (N, K), what P(real) leaves."""
    scores = {view: generated(it) if it.ndim == 2 else it for view, it in values.items()}
    return Scores(status, messages, scores, {view: it for view, it in values.items() if it.ndim == 2})


def _on(detector: Any, rows: np.ndarray, good: np.ndarray) -> np.ndarray:
    """A detector on the good ones of rows (N, D); NaN elsewhere."""
    ask = detector.probabilities if isinstance(detector, Attributor) else detector.score
    x = rows[good].astype(np.float32)
    shown = np.resize(x, (max(len(x), FEWEST), x.shape[1]))  # repeats them
    answers = ask(shown)[: len(x)] if len(x) else np.empty((0, *_width(detector)))
    found = np.full((len(rows), *answers.shape[1:]), np.nan)
    found[good] = answers
    return found


def _width(detector: Any) -> tuple[int, ...]:
    return (len(detector.classes),) if isinstance(detector, Attributor) else ()
