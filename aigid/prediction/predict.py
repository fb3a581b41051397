"""Images in, predictions out: inspect, score, decide, explain."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigid.core.embeddings import OK
from aigid.core.params import validate
from aigid.detectors import bundle
from aigid.detectors.protocol import Scores, to_p_generated
from aigid.detectors.samples import Floats
from aigid.images import Pixels
from aigid.metrics.calibration import require_same_model
from aigid.metrics.decisions import DecisionRule, EvaluationSettings
from aigid.prediction import EXPORTED, hub, verdict
from aigid.prediction.inspection import InspectedImage, inspect_batches
from aigid.prediction.scorers import Scorer
from aigid.prediction.verdict import Prediction

if TYPE_CHECKING:
    from aigid.features.extract import EncoderLoader

GRID = 8  # cells to a side of an occlusion map


class Predictor:
    """A fitted detector with its backbone, thresholds and limitations, ready for images."""

    def __init__(
        self,
        folder: Path,
        settings: EvaluationSettings | None = None,
        weights: str | None = None,
        rule: DecisionRule | None = None,
    ) -> None:
        self.folder = folder
        if folder.suffix == EXPORTED:
            from aigid.prediction import exported  # onnxruntime

            self.model, self.settings, fitted = exported.load(folder, settings, weights)
        else:
            self.model, self.settings = bundle.load(folder), settings or EvaluationSettings()
            fitted = None if rule else verdict.decision_rule_for(self.model, self.settings)
        self.rule = rule or fitted
        self.caution = require_same_model(rule.calibrator, {self.model.identity}) if rule else ""
        self.scorer = Scorer(self.model, folder, weights)

    @cached_property
    def loader(self) -> "EncoderLoader":
        """The encoders, which stay loaded from one call to the next."""
        from aigid.features.extract import EncoderLoader  # torch, once the first image comes

        return EncoderLoader()

    @property
    def operating_point(self) -> dict[str, Any]:
        return verdict.operating_point(self.rule, self.settings)

    @property
    def limitations(self) -> list[str]:
        return [*filter(None, [self.caution]), *verdict.limitations(self.model, self.rule)]

    def predict(
        self, images: Any, views: Sequence[str] = (), explain: Path | bool = False, check_stability: bool = False
    ) -> Prediction | list[Prediction]:
        """Return the prediction of a path, PIL image, array (H, W[, 3]) or tensor (3, H, W); of a list, as many.

        The options are those of the function ``predict``.
        """
        several = isinstance(images, (list, tuple))
        batch = images if several else [images]
        predictions = [row[0] for row in predict([self], batch, views, explain, check_stability)]
        return predictions if several else predictions[0]


def predict(
    predictors: Sequence[Predictor],
    images: Sequence[Any],
    views: Sequence[str] = (),
    explain: Path | bool = False,
    check_stability: bool = False,
) -> Iterator[list[Prediction]]:
    """Yield the predictors' predictions for each image, which is decoded once for all of them.

    ``views`` are scored beside ``clean``, which decides; ``check_stability`` scores what messengers and web sites make
    of an image. ``explain`` asks for occlusion maps; a folder gets their figures.
    """
    number = 0
    for batch in inspect_batches(images):
        yield from predict_inspected(predictors, batch, views, explain, check_stability, number)
        number += len(batch)
        del batch  # its pixels, before the next are collected


def predict_inspected(
    predictors: Sequence[Predictor],
    batch: Sequence[InspectedImage],
    views: Sequence[str] = (),
    explain: Path | bool = False,
    check_stability: bool = False,
    number: int = 0,
    cached: bool = True,
) -> Iterator[list[Prediction]]:
    """Yield what ``predict`` does, of images in memory; the first is called ``number``.

    Without ``cached`` nothing is read from the row cache, and nothing stays in it.
    """
    loader = predictors[0].loader
    names = tuple(dict.fromkeys(("clean", *views, *(verdict.DELIVERY_VIEWS if check_stability else ()))))
    readable = [image for image in batch if image.status == OK]
    scores = _score(predictors, readable, names, loader, cached) if readable else []
    rows = {id(image): row for row, image in enumerate(readable)}
    for offset, image in enumerate(batch):
        predictions = []
        for index, predictor in enumerate(predictors):
            result = scores[index] if image.status == OK else None
            prediction = _decide(predictor, image, result, rows.get(id(image), 0), check_stability)
            if explain and prediction.ok:
                prediction = _explain(predictor, image, prediction, number + offset, explain, loader)
            predictions.append(prediction)
        yield predictions


def _score(
    predictors: Sequence[Predictor],
    images: list[InspectedImage],
    views: Sequence[str],
    loader: "EncoderLoader",
    cached: bool,
) -> list[Scores]:
    if not cached:
        return [predictor.scorer.score_once(images, views, loader) for predictor in predictors]
    return [
        predictor.scorer.score(
            images, views, loader, [backbone for other in predictors[after:] for backbone in other.scorer.backbones]
        )
        for after, predictor in enumerate(predictors, 1)
    ]


def _decide(
    predictor: Predictor, image: InspectedImage, result: Scores | None, row: int, check_stability: bool
) -> Prediction:
    details: dict[str, Any] = {
        "detector": predictor.model.name,
        "model": predictor.model.identity,
        "demonstration": predictor.model.origin.demonstration,
    }
    if result is None:
        return Prediction(image.path, image.status, image.message, details=details)
    if (status := str(result.status[row])) != OK:
        return Prediction(image.path, status, result.messages.get(row, ""), details=details)
    scores = {view: float(to_p_generated(values)[row]) for view, values in result.values.items()}
    warnings = image.warnings
    if check_stability:
        delivered = {view: scores[view] for view in ("clean", *verdict.DELIVERY_VIEWS)}
        details["stability"] = verdict.score_stability(delivered, predictor.rule)
        warnings += verdict.stability_warnings(details["stability"])
    decision = verdict.decide(scores["clean"], predictor.rule, warnings)
    details |= {"calibrated": decision.calibrated, "reasons": list(decision.reasons)}
    if classes := predictor.model.detector.classes:
        details["classes"] = dict(zip(classes, result.values["clean"][row].tolist(), strict=True))
        details["predicted"] = classes[result.classes("clean")[row]]
    if image.note:
        details["note"] = image.note
    if image.metadata:
        details["embedded_metadata"] = image.metadata
    return Prediction(
        image.path,
        score=scores["clean"],
        probability=decision.probability,
        verdict=decision.verdict,
        threshold=decision.threshold,
        details=details,
        scores=scores,
        warnings=warnings,
    )


def _explain(
    predictor: Predictor,
    image: InspectedImage,
    prediction: Prediction,
    number: int,
    explain: Path | bool,
    loader: "EncoderLoader",
) -> Prediction:
    assert image.pixels is not None, "an image without pixels has no score to explain"
    drops = occlusion(lambda images: predictor.scorer.score_pixels(images, loader), image.pixels)
    if isinstance(explain, bool):
        return replace(prediction, occlusion_map=drops)
    from aigid.report.figures import save_occlusion_map  # matplotlib

    name = predictor.folder.name
    out = explain / f"{Path(image.path).stem}-{number}-{name}.png"
    save_occlusion_map(image.pixels, drops, f"{name}: {Path(image.path).name}", out)
    return replace(prediction, occlusion_map=drops, details=prediction.details | {"map": str(out)})


def occlusion(score: Callable[[Iterator[Pixels]], Floats], image: Pixels, grid: int = GRID) -> Floats:
    """Return (grid, grid) drops of the score of an image (H, W, 3) where a cell is its mean color.

    ``score`` gives P(generated) of images, the first of which is the image itself. Positive cells speak for
    ``generated``, negative ones for ``real``. Zeiler and Fergus 2014, section 4.2.
    """
    grid = min(grid, *image.shape[:2])
    rows, columns = (np.linspace(0, side, grid + 1).astype(int) for side in image.shape[:2])
    fill = image.mean(axis=(0, 1)).round()

    def variants() -> Iterator[Pixels]:
        yield image
        for i, j in product(range(grid), range(grid)):
            covered = image.copy()
            covered[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = fill
            yield covered

    scores = score(variants())
    return np.asarray(scores[0] - scores[1:]).reshape(grid, grid)


def open_bundle(folder: Path | str, weights: str | None = None, **settings: Any) -> Predictor:
    """Return the predictor of a bundle's folder, or of its address ``hf://USER/NAME[@REVISION]``.

    ``weights`` names a copy of its backbone's, ``settings`` are evaluation's.
    """
    return Predictor(hub.local(folder), validate(settings, EvaluationSettings, "aigid.load"), weights)
