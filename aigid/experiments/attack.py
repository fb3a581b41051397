"""What an attacker can do to a detector: by gradients, by transfer, by edits, by an autoencoder, and by a patch.

Attacked images are judged as files are: by Pillow's preprocessing and the bundle's own encoder, such as 8-bit ONNX.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from aigid.aligned.pairs import psnr
from aigid.core.embeddings import OK
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.data.audit.audit import priorities, sample
from aigid.degradations import views
from aigid.detectors import bundle
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import open_dataset
from aigid.experiments.attack_methods import attack, bisect, paste_patch, reconstruct
from aigid.images import Pixels
from aigid.metrics import intervals
from aigid.metrics.decisions import GENERATED, REAL, UNCERTAIN, EvaluationSettings
from aigid.prediction import verdict
from aigid.prediction.inspection import inspect
from aigid.prediction.predict import Predictor

DETECTOR, SURROGATE = "detector", "surrogate"
SIDES = {REAL: -1, UNCERTAIN: 0, GENERATED: 1}
SCORE_COLUMNS = [
    *("source", "target", "attack", "strength", "path", "label", "group", "counted_as"),
    *("score", "clean", "threshold", "side", "psnr"),
]
BATCH = 4  # images of each class that are attacked at a time
Gradients = Mapping[str, Callable[..., Any]]  # from images to logits, by the source's name
Epsilon = Annotated[int, Field(ge=1, le=64)]
Source = Literal["detector", "surrogate"]
Share = Annotated[float, Field(gt=0, le=1)]
logger = logging.getLogger(__name__)


class AttackSettings(Settings):
    """The attacker's own detector and the strengths; the section's name is the detector that is attacked."""

    backbone: str  # of the attacker's own detector, the surrogate: a probe on its embeddings of the training images
    dataset: str
    c: Annotated[float, Field(gt=0)] = 0.001  # of the surrogate
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = ("detector", "surrogate")
    max_images: Annotated[int, Field(ge=2)] = 60  # test images of each class
    epsilons: Annotated[tuple[Epsilon, ...], Field(min_length=1)] = (1, 2, 4, 8)  # of L-inf, of 255
    steps: Annotated[int, Field(ge=1)] = 3  # of PGD for each epsilon, which goes on from the one before
    precision: Literal["float32", "bfloat16"] = "float32"  # of the gradients' encoder
    views: tuple[str, ...] = ("jpeg_chain", "resize_chain", "screenshot", "recapture")
    after: tuple[str, ...] = ("jpeg70",)  # what becomes of PGD's images on their way
    patches: tuple[Share, ...] = (0.05, 0.1, 0.25, 0.5)  # of a photograph's area that an autoencoder redraws


class ImageSample:
    """Readable images: their rows, and pixels (H, W, 3) uint8 in the same order; InputError where there are none."""

    def __init__(self, rows: pd.DataFrame, root: AnyPath) -> None:
        read = [inspect(root / path) for path in rows["path"]]
        for image in read:
            if image.status != OK:
                logger.warning("%s: %s: not attacked", image.path, image.message or image.status)
        self.table = rows[[image.status == OK for image in read]].reset_index(drop=True)
        self.pixels = [image.pixels for image in read if image.pixels is not None]
        self.digests = [image.sha256 for image in read if image.pixels is not None]
        self.labels = self.table["label"].to_numpy(np.int64)
        if not self.pixels:
            raise InputError(f"{root}: none of {len(rows)} test images can be read: nothing to attack")


def batches(table: pd.DataFrame, max_images: int, seed: int) -> list[pd.DataFrame]:
    """Return at most ``max_images`` test images of each class, even over generators, ``BATCH`` of each at a time."""
    test = np.flatnonzero((table["split"] == "test").to_numpy())
    chosen = table.iloc[sample(table, test, priorities(table, seed), 2 * max_images)]
    if chosen["label"].nunique() < 2:
        raise InputError("the test split lacks reals or fakes: nothing to rank attacked images against")
    number = chosen.groupby("label").cumcount() // BATCH
    return [part.reset_index(drop=True) for _, part in chosen.groupby(number)]


class Target:
    """A detector as files meet it."""

    def __init__(self, name: str, predictor: Predictor) -> None:
        self.name, self.predictor = name, predictor
        self.threshold = float(predictor.operating_point["threshold"])

    def score(self, images: Sequence[Pixels]) -> NDArray[np.float64]:
        """Return P(generated) (N,) of images."""
        return np.asarray(self.predictor.scorer.score_pixels(images, self.predictor.loader), np.float64)

    def side(self, score: float) -> int:
        """Return -1 for the verdict real, 0 for uncertain, 1 for generated."""
        return SIDES[verdict.decide(score, self.predictor.rule).verdict]


class Variant(NamedTuple):
    """The images at ``rows`` (n,) after an attack; ``counted_as`` is their label now, None where each keeps its own."""

    attack: str
    strength: float | str
    pixels: list[Pixels]
    rows: NDArray[np.int64]
    counted_as: int | None = None
    source: str = ""


def surrogate(
    table: pd.DataFrame, manifest: Path, embeddings: Path, settings: AttackSettings, seed: int, out: Path
) -> None:
    """Write the bundle of the attacker's own probe on the embeddings of a manifest's training images."""
    samples = open_dataset(table, [embeddings])
    section = LinearProbe.Settings(backbone=settings.backbone, dataset=settings.dataset, c=[settings.c])
    probe = LinearProbe.fit(section, samples.split("train"), samples.split("val"), seed)
    origin = bundle.provenance_of(settings.dataset, manifest, samples, probe, demonstration=False)
    saved = section.model_dump(mode="json"), samples.fingerprints, origin, bundle.validate(probe, samples)
    bundle.save(bundle.Bundle("probe", probe, *saved), out)


@contextmanager
def opened(
    model: Path,
    vae: Path,
    embeddings: Path,
    images: tuple[pd.DataFrame, Path, AnyPath],
    settings: AttackSettings,
    seed: int,
    rule: EvaluationSettings | None = None,
) -> Iterator[Callable[[pd.DataFrame], pd.DataFrame]]:
    """Give the ``scorer`` of a bundle, with a surrogate that is trained on the embeddings of images.

    These are a manifest, its path and the root of its images; ``vae`` is the folder of the autoencoder that redraws.
    """
    from aigid.generators.autoencoder_kl import load_any  # torch, once the parameters are known to be good

    table, manifest, root = images
    with TemporaryDirectory() as folder:
        surrogate(table, manifest, embeddings, settings, seed, Path(folder, SURROGATE))
        predictors = {DETECTOR: Predictor(model, rule), SURROGATE: Predictor(Path(folder, SURROGATE), rule)}
        yield scorer(predictors, load_any(vae), root, settings, seed)


def scorer(
    predictors: Mapping[str, Predictor], autoencoder: Any, root: AnyPath, settings: AttackSettings, seed: int
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the function of a manifest's rows, of images below ``root``, to the scores of what attacks make of them.

    These are ``SCORE_COLUMNS``, a row for each image, attack, its source and the target. ``counted_as`` is the label
    that the image now deserves, ``clean`` its score as it was, ``side`` that of the verdict. What PGD makes of a
    detector by its own gradients is also turned to abstention, and saved again.
    """
    from aigid.prediction.differentiable import differentiable_logit  # torch

    targets = [Target(name, predictor) for name, predictor in predictors.items()]
    gradients: Gradients = {source: differentiable_logit(predictors[source]) for source in settings.sources}

    def run(table: pd.DataFrame) -> pd.DataFrame:
        images, rows = ImageSample(table, root), []
        clean = {target.name: target.score(images.pixels) for target in targets}
        edited = _edits(images, autoencoder, settings, seed)
        for variant in chain(edited, _gradient_attacks(images, gradients, settings)):
            for target in targets:
                is_white_box = target.name == variant.source and variant.attack == "pgd"
                followers = _follow_up(variant, target, images, settings, seed) if is_white_box else ()
                rows += [_score(changed, target, images, clean[target.name]) for changed in (variant, *followers)]
        return pd.concat(rows, ignore_index=True)[SCORE_COLUMNS]

    return run


def _edits(images: ImageSample, autoencoder: Any, settings: AttackSettings, seed: int) -> Iterator[Variant]:
    every, reals = np.arange(len(images.labels)), np.flatnonzero(images.labels == 0)
    yield Variant("none", "", images.pixels, every)
    for view in settings.views:
        yield Variant(view, "", _view(view, images.pixels, images, seed), every)
    redrawn = [reconstruct(autoencoder, pixels) for pixels in images.pixels]
    yield Variant("autoencoder", "", redrawn, every, 1)
    for share in settings.patches:
        pasted = [paste_patch(images.pixels[row], redrawn[row], share, images.digests[row], seed) for row in reals]
        yield Variant("patch", share, pasted, reals, 1)


def _gradient_attacks(images: ImageSample, gradients: Gradients, settings: AttackSettings) -> Iterator[Variant]:
    every, half = np.arange(len(images.labels)), settings.precision == "bfloat16"
    for source, logit in gradients.items():
        directions = 1.0 - 2 * images.labels
        moved = attack(logit, images.pixels, directions, settings.epsilons, settings.steps, half)
        for (name, epsilon), pixels in moved.items():
            yield Variant(name, epsilon, pixels, every, source=source)


def _follow_up(
    variant: Variant, target: Target, images: ImageSample, settings: AttackSettings, seed: int
) -> Iterator[Variant]:
    """Yield mixtures with the clean images that the target abstains on, where there are any, and views of an attack."""
    mixed = bisect(images.pixels, variant.pixels, images.digests, seed, target.score, target.side)
    yield variant._replace(attack=f"{variant.attack}, to uncertain", pixels=mixed)
    for view in settings.after:
        yield variant._replace(attack=f"{variant.attack}, {view}", pixels=_view(view, variant.pixels, images, seed))


def _view(view: str, pixels: Sequence[Pixels], images: ImageSample, seed: int) -> list[Pixels]:
    return [views.apply(view, image, digest, seed)[0] for image, digest in zip(pixels, images.digests, strict=True)]


def _score(variant: Variant, target: Target, images: ImageSample, clean: NDArray[np.float64]) -> pd.DataFrame:
    scores, labels = target.score(variant.pixels), images.labels[variant.rows]
    pairs = [(images.pixels[row], pixels) for row, pixels in zip(variant.rows, variant.pixels, strict=True)]
    return images.table.iloc[variant.rows][["path", "label"]].assign(
        group=intervals.group_names(images.table)[variant.rows],
        source=variant.source, target=target.name, attack=variant.attack, strength=str(variant.strength),
        counted_as=labels if variant.counted_as is None else variant.counted_as,
        score=scores, clean=clean[variant.rows], threshold=target.threshold,
        side=[target.side(score) for score in scores],
        psnr=[psnr(*pair) if pair[0].shape == pair[1].shape else np.nan for pair in pairs],
    )  # fmt: skip
