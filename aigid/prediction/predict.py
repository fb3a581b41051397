"""Bundles in use: images in, predictions out."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigid.core.embeddings import OK
from aigid.core.files import num_workers
from aigid.core.params import validate
from aigid.detectors import bundle as bundles
from aigid.images.decode import decode
from aigid.images.errors import ImageError
from aigid.images.hashing import hash_files
from aigid.metrics.decisions import DecisionRule, EvaluationSettings
from aigid.prediction import inputs, stability, verdict
from aigid.prediction.output import Prediction
from aigid.prediction.scorers import BatchScores, Scorer

if TYPE_CHECKING:
    from aigid.features.extract import EncoderLoader


CHUNK = 2048  # images at a time, of which scores and findings are in memory
Warnings = dict[str, tuple[str, ...]]  # by sha256


class Predictor:
    """A fitted detector with its backbone, thresholds and limits, ready for images."""

    def __init__(
        self,
        folder: Path,
        settings: EvaluationSettings | None = None,
        weights: str | None = None,
        deployment: DecisionRule | None = None,
    ) -> None:
        self.folder = folder
        self.model = bundles.load(folder)
        self.settings = settings or EvaluationSettings()
        self.deployment = deployment or verdict.decision_rule_for(self.model, self.settings)
        self.scorer = Scorer(self.model, folder, weights)
        self.loader: EncoderLoader | None = None  # torch is imported when the first image comes

    @property
    def terms(self) -> dict[str, Any]:
        """On what terms verdicts stand."""
        return verdict.operating_point(self.deployment, self.settings)

    @property
    def limits(self) -> list[str]:
        """What it does not know."""
        return verdict.limitations(self.model, self.deployment)

    def predict(self, images: Any, stable: bool = False) -> Prediction | list[Prediction]:
        """Of a path, PIL image, array (H, W[, 3]) or tensor (3, H, W) one prediction; of a list, as many."""
        given = images if isinstance(images, (list, tuple)) else [images]
        with tempfile.TemporaryDirectory(prefix="aigid-") as scratch:
            paths = [inputs.to_path(image, Path(scratch), number) for number, image in enumerate(given)]
            table = pd.DataFrame({"path": [str(path) for path in paths]})
            found = [row[0] for row in predict([self], table, stable)]
        return found if isinstance(images, (list, tuple)) else found[0]


def predict(bundles: Sequence[Predictor], images: pd.DataFrame, stable: bool = False) -> Iterator[list[Prediction]]:
    """For each row of ``images`` (column ``path``) the bundles' predictions; towers are loaded and fed once."""
    from aigid.features.extract import EncoderLoader

    loader = bundles[0].loader = bundles[0].loader or EncoderLoader()
    views = ("clean", *(stability.DELIVERY_VIEWS if stable else ()))
    for start in range(0, len(images), CHUNK):
        paths = images["path"].iloc[start : start + CHUNK].tolist()
        keys = np.array(hash_files([str(Path(path).absolute()) for path in paths]))
        failed, seen = _unhashed(paths, keys), {}
        look = _warning_collector(seen)
        table = pd.DataFrame({"path": paths, "sha256": keys}).drop(index=list(failed)).reset_index(drop=True)
        places = [place for place in range(len(paths)) if place not in failed]
        scored = []
        for number, bundle in enumerate(bundles if places else ()):
            others = [tower for other in bundles[number + 1 :] for tower in other.scorer.towers]
            scored.append(bundle.scorer.score(table, views, loader, others, look))
        if places:
            _decode_cached(table, scored[0].status == OK, seen)
        rows = dict(zip(places, range(len(places)), strict=True))
        for place, path in enumerate(paths):
            if place in failed:
                status, message = failed[place]
                yield [Prediction(path, status, message, details=_detector_info(bundle)) for bundle in bundles]
            else:
                caution = seen.get(keys[place], ())
                pairs = zip(bundles, scored, strict=True)
                yield [_to_prediction(bundle, path, it, rows[place], caution, stable) for bundle, it in pairs]


def _to_prediction(
    bundle: Predictor, path: str, found: BatchScores, row: int, caution: tuple[str, ...], stable: bool
) -> Prediction:
    status = str(found.status[row])
    if status != OK:
        return Prediction(path, status, found.messages.get(row, ""), details=_detector_info(bundle))
    score = float(found.scores["clean"][row])
    details = _detector_info(bundle)
    if stable:
        details["stability"] = stability.score_stability(
            {view: float(it[row]) for view, it in found.scores.items()}, bundle
        )
        caution = (*caution, *stability.stability_warnings(details["stability"]))
    said = verdict.decide(score, bundle.deployment, caution)
    details |= {"calibrated": said.calibrated, "reasons": list(said.reasons)}
    if "clean" in found.classes:
        named = zip(bundle.model.detector.classes, found.classes["clean"][row].tolist(), strict=True)
        details["classes"] = dict(named)
    return Prediction(path, OK, "", score, said.probability, said.verdict, said.threshold, details)


def _detector_info(bundle: Predictor) -> dict[str, Any]:
    return {"detector": bundle.model.name, "demonstration": bundle.model.origin.demonstration}


def _unhashed(paths: list[str], keys: np.ndarray) -> dict[int, tuple[str, str]]:
    """Why files that could not be hashed cannot be decoded either, by place."""
    failed = {}
    for place in np.flatnonzero(keys == "").tolist():
        try:
            decode(paths[place])
        except ImageError as error:
            failed[place] = (str(error.status), error.message)
        else:
            failed[place] = ("changed", "it was written to while it was read")
    return failed


def _warning_collector(seen: Warnings) -> Any:
    def look(key: str, image: np.ndarray) -> None:
        if key not in seen:
            seen[key] = verdict.pixel_warnings(image)

    return look


def _decode_cached(table: pd.DataFrame, good: np.ndarray, seen: Warnings) -> None:
    """Decode what the cache spared the scorers."""
    rest = {key: path for key, path in zip(table["sha256"][good], table["path"][good], strict=True) if key not in seen}
    look = _warning_collector(seen)

    def see(item: tuple[str, str]) -> None:
        try:
            look(item[0], decode(item[1]))
        except ImageError:  # gone since: the score stands
            seen[item[0]] = ()

    with ThreadPoolExecutor(num_workers()) as pool:
        list(pool.map(see, rest.items()))


def open_bundle(folder: Path | str, weights: str | None = None, **settings: Any) -> Predictor:
    """The bundle in a folder; ``weights`` names a copy of its backbone's, the rest is of ``EvaluationSettings``."""
    return Predictor(Path(folder), validate(settings, EvaluationSettings, "aigid.load"), weights)
