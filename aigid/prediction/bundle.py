"""Bundles in use: images in, predictions out."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aigid.base.files import num_workers
from aigid.base.params import check
from aigid.data.hashes import sha256_of
from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode
from aigid.detectors.base import models
from aigid.evaluation.deployment import Deployment, EvaluationSettings
from aigid.prediction import cautions, pictures, stability, verdict
from aigid.prediction.result import Prediction
from aigid.prediction.scorers import Scorer, Scores
from aigid.store import OK

if TYPE_CHECKING:
    from aigid.features.extract import Towers

CHUNK = 2048  # images at a time, of which scores and findings are in memory
Cautions = dict[str, tuple[str, ...]]  # by sha256


class Bundle:
    """A fitted detector with its backbone, thresholds and limits, ready for images."""

    def __init__(
        self,
        folder: Path,
        settings: EvaluationSettings | None = None,
        weights: str | None = None,
        deployment: Deployment | None = None,
    ) -> None:
        self.folder = folder
        self.model = models.load(folder)
        self.settings = settings or EvaluationSettings()
        self.deployment = deployment or verdict.deployment_of(self.model, self.settings)
        self.scorer = Scorer(self.model, folder, weights)
        self.loader: Towers | None = None  # torch is imported when the first image comes

    @property
    def terms(self) -> dict[str, Any]:
        """On what terms verdicts stand."""
        return verdict.terms(self.deployment, self.settings)

    @property
    def limits(self) -> list[str]:
        """What it does not know."""
        return verdict.limits(self.model, self.deployment)

    def predict(self, images: Any, stable: bool = False) -> Prediction | list[Prediction]:
        """Of a path, PIL image, array (H, W[, 3]) or tensor (3, H, W) one prediction; of a list, as many."""
        given = images if isinstance(images, (list, tuple)) else [images]
        with tempfile.TemporaryDirectory(prefix="aigid-") as scratch:
            paths = [pictures.path_of(image, Path(scratch), number) for number, image in enumerate(given)]
            table = pd.DataFrame({"path": [str(path) for path in paths]})
            found = [row[0] for row in predict([self], table, stable)]
        return found if isinstance(images, (list, tuple)) else found[0]


def predict(bundles: Sequence[Bundle], images: pd.DataFrame, stable: bool = False) -> Iterator[list[Prediction]]:
    """For each row of ``images`` (column ``path``) the bundles' predictions; towers are loaded and fed once."""
    from aigid.features.extract import Towers

    loader = bundles[0].loader = bundles[0].loader or Towers()
    views = ("clean", *(stability.VIEWS if stable else ()))
    for start in range(0, len(images), CHUNK):
        paths = images["path"].iloc[start : start + CHUNK].tolist()
        keys = np.array(sha256_of([str(Path(path).absolute()) for path in paths]))
        failed, seen = _unhashed(paths, keys), {}
        look = _looking(seen)
        table = pd.DataFrame({"path": paths, "sha256": keys}).drop(index=list(failed)).reset_index(drop=True)
        places = [place for place in range(len(paths)) if place not in failed]
        scored = []
        for number, bundle in enumerate(bundles if places else ()):
            others = [tower for other in bundles[number + 1 :] for tower in other.scorer.towers]
            scored.append(bundle.scorer.score(table, views, loader, others, look))
        if places:
            _look_at_the_rest(table, scored[0].status == OK, seen)
        rows = dict(zip(places, range(len(places)), strict=True))
        for place, path in enumerate(paths):
            if place in failed:
                status, message = failed[place]
                yield [Prediction(path, status, message, details=_of(bundle)) for bundle in bundles]
            else:
                caution = seen.get(keys[place], ())
                pairs = zip(bundles, scored, strict=True)
                yield [_conclude(bundle, path, it, rows[place], caution, stable) for bundle, it in pairs]


def _conclude(bundle: Bundle, path: str, found: Scores, row: int, caution: tuple[str, ...], stable: bool) -> Prediction:
    status = str(found.status[row])
    if status != OK:
        return Prediction(path, status, found.messages.get(row, ""), details=_of(bundle))
    score = float(found.scores["clean"][row])
    details = _of(bundle)
    if stable:
        details["stability"] = stability.of({view: float(it[row]) for view, it in found.scores.items()}, bundle)
        caution = (*caution, *stability.caution(details["stability"]))
    said = verdict.decide(score, bundle.deployment, caution)
    details |= {"calibrated": said.calibrated, "reasons": list(said.reasons)}
    if "clean" in found.classes:
        named = zip(bundle.model.detector.classes, found.classes["clean"][row].tolist(), strict=True)
        details["classes"] = dict(named)
    return Prediction(path, OK, "", score, said.probability, said.verdict, said.threshold, details)


def _of(bundle: Bundle) -> dict[str, Any]:
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


def _looking(seen: Cautions) -> Any:
    def look(key: str, image: np.ndarray) -> None:
        if key not in seen:
            seen[key] = cautions.of_pixels(image)

    return look


def _look_at_the_rest(table: pd.DataFrame, good: np.ndarray, seen: Cautions) -> None:
    """Decode what the cache spared the scorers."""
    rest = {key: path for key, path in zip(table["sha256"][good], table["path"][good], strict=True) if key not in seen}
    look = _looking(seen)

    def see(item: tuple[str, str]) -> None:
        try:
            look(item[0], decode(item[1]))
        except ImageError:  # gone since: the score stands
            seen[item[0]] = ()

    with ThreadPoolExecutor(num_workers()) as pool:
        list(pool.map(see, rest.items()))


def open_bundle(folder: Path | str, weights: str | None = None, **settings: Any) -> Bundle:
    """The bundle in a folder; ``weights`` names a copy of its backbone's, the rest is of ``EvaluationSettings``."""
    return Bundle(Path(folder), check(settings, EvaluationSettings, "aigid.load"), weights)
