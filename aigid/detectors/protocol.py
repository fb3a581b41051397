"""What a detector is, and its scores as rows of a scores file."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import params
from aigid.core.embeddings import BLOCK, OK
from aigid.core.errors import input_errors
from aigid.core.scores import EXTRA_COLUMNS, PREDICTED, PREFIX
from aigid.detectors.samples import Floats, Ints, Samples

NOT_FINITE = "not_finite"  # the status of an image whose score is no number
MIN_ROWS = 8  # rows that a detector gets: of fewer a product's last bits differ, of which GenDet makes 2e-6
MANIFEST_COLUMNS = ("path", "label", "generator", "split")
OPTIONAL_COLUMNS = ("source", "group", *EXTRA_COLUMNS)


@dataclass(frozen=True)
class Scores:
    """``status`` (N,) str; by view P(generated) (N,) or class probabilities (N, K), class 0 being real; else NaN.

    ``messages`` say more of images that failed, by their index; ``predicted`` holds the classes (N,) by view of a
    detector that does not take the most probable one.
    """

    status: NDArray[Any]
    values: dict[str, Floats]
    messages: dict[int, str] = field(default_factory=dict)
    predicted: dict[str, Ints] = field(default_factory=dict)

    def classes(self, view: str) -> Ints:
        """Return the class (N,) that the detector decides for in a view; no class where the status is not ok."""
        return self.predicted[view] if view in self.predicted else self.values[view].argmax(axis=1)


def enough_rows(x: Floats) -> Floats:
    """Return embeddings (N, D) as they are, or repeated where they are fewer than ``MIN_ROWS``."""
    return x if len(x) >= MIN_ROWS else np.resize(x, (MIN_ROWS, x.shape[1]))


def blank_not_finite(result: Scores) -> Scores:
    """Return scores in which an image that a model answers NaN or infinity to, in any view, has a status, no score."""
    status, messages = np.array(result.status, object), dict(result.messages)
    for view, values in result.values.items():
        rows = values[:, None] if values.ndim == 1 else values
        for index in np.flatnonzero((status == OK) & ~np.isfinite(rows).all(axis=1)):
            answer = next(value for value in rows[index] if not np.isfinite(value))
            status[index], messages[int(index)] = NOT_FINITE, f"the model answers {answer} in view {view}"
    failed = status == NOT_FINITE
    if not failed.any():
        return result
    for values in result.values.values():
        values[failed] = np.nan
    return Scores(status, result.values, messages, result.predicted)


class BaseDetector(ABC):
    """Learns from samples, scores samples, and is saved to a folder without pickle.

    ``learns_from`` are the splits whose images it has seen, ``logs`` tables of the training by name, ``classes`` those
    of its class probabilities, ``real`` first; it has none where it gives P(generated).
    """

    Settings: ClassVar[type[params.Settings]]
    learns_from: ClassVar[tuple[str, ...]] = ("train", "val")
    logs: Mapping[str, pd.DataFrame] = MappingProxyType({})
    classes: Sequence[str] = ()

    @classmethod
    def fit(cls, *args: Any, **components: Any) -> Self:
        """Return a detector from ``settings``, ``train``, ``val`` and ``seed``; ``components`` are folders it needs.

        Choices are made on ``val``. The samples are `LabeledEmbeddings` for an `EmbeddingDetector`, else `Samples`.
        """
        raise NotImplementedError

    @classmethod
    def plan(cls, settings: Any, table: pd.DataFrame, seed: int) -> Any:
        """Return the `TrainConfig` of the rows of ``table`` where processes of ``torchrun`` share it, else None."""
        return None

    @abstractmethod
    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        """Return the scores of all samples in the views."""

    def fingerprints(self, samples: Samples) -> list[str]:
        """Return what must be equal where equal images are to have equal scores, as far as it is known."""
        return []

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        """Return the settings of the networks that it started from."""
        return []

    @abstractmethod
    def save(self, folder: Path) -> dict[str, Any]:
        """Write the arrays below ``folder``; return the ``detector_state`` of ``model.json``."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        """Return the detector whose ``save`` wrote the folder and returned ``state``."""


class EmbeddingDetector(BaseDetector):
    """Scores embeddings (N, D): has ``p_generated``, or ``classes`` and ``predict_proba``."""

    def predict_proba(self, embeddings: Floats) -> Floats:
        """Return the class probabilities (N, K) float64 of (N, D), rows summing to 1."""
        raise NotImplementedError

    def classify(self, embeddings: Floats) -> tuple[Floats, Ints]:
        """Return the class probabilities (N, K) of (N, D), and the class (N,) that the detector decides for."""
        probabilities = self.predict_proba(embeddings)
        return probabilities, probabilities.argmax(axis=1)

    def p_generated(self, embeddings: Floats) -> Floats:
        """Return P(generated) (N,) float64 in [0, 1] of (N, D)."""
        return 1 - self.predict_proba(embeddings)[:, 0]

    def score(self, samples: Samples, views: Sequence[str]) -> Scores:
        ok, num = np.flatnonzero(samples.status == OK), len(samples.table)
        values = {view: np.full((num, len(self.classes)) if self.classes else num, np.nan) for view in views}
        predicted = {view: np.zeros(num, np.int64) for view in views} if self.classes else {}
        for view, result in values.items():
            for start in range(0, len(ok), BLOCK):
                rows = ok[start : start + BLOCK]
                x = samples.embeddings(view, rows)
                scores, classes = self._score_rows(enough_rows(x))
                result[rows] = scores[: len(x)]
                if self.classes:
                    predicted[view][rows] = classes[: len(x)]
        return Scores(samples.status, values, samples.messages, predicted)

    def _score_rows(self, x: Floats) -> tuple[Floats, Ints]:
        """Return P(generated) or probabilities, and classes if it has any; InputError where it takes other columns."""
        what = f"{type(self).__name__}: takes other embeddings than these of {x.shape[1]} columns"
        with input_errors(what, ValueError, RuntimeError, IndexError):  # of NumPy, scikit-learn or torch
            return self.classify(x) if self.classes else (self.p_generated(x), np.zeros(0, np.int64))

    def fingerprints(self, samples: Samples) -> list[str]:
        return samples.fingerprints

    def backbones(self, samples: Samples) -> list[dict[str, Any]]:
        return samples.backbones


def scores_frame(
    manifest: pd.DataFrame,
    view: str,
    scores: Floats,
    status: NDArray[Any] | str,
    classes: Sequence[str] = (),
    predicted: Ints | None = None,
) -> pd.DataFrame:
    """Return a manifest's rows in one view with their scores, NaN where the status (N,) is not ok.

    The scores are P(generated) (N,), or probabilities (N, K) of ``classes``, which get a column ``class_<name>`` each;
    ``predicted`` (N,), the classes that were decided for, then become the column of that name.
    """
    columns = [*MANIFEST_COLUMNS, *(column for column in OPTIONAL_COLUMNS if column in manifest)]
    table = manifest[columns].reset_index(drop=True)
    table.insert(len(MANIFEST_COLUMNS), "view", view)
    table.insert(len(MANIFEST_COLUMNS) + 1, "score", to_p_generated(scores))
    probabilities = {PREFIX + name: scores[:, number] for number, name in enumerate(classes)}
    table = table.assign(status=status)
    if predicted is not None:
        table[PREDICTED] = np.where(table["score"].isna(), "", np.array(classes, object)[predicted])
    return table.assign(**probabilities)


def to_p_generated(scores: Floats) -> Floats:
    """Return P(generated) (N,) as it is; of class probabilities (N, K) what P(real) leaves of 1, in [0, 1]."""
    return np.clip(1 - scores[:, 0], 0, 1) if scores.ndim == 2 else scores


def score_views(detector: BaseDetector, samples: Samples, views: Sequence[str]) -> pd.DataFrame:
    """Return the scores file's rows of all samples, one view below the other."""
    result, classes = blank_not_finite(detector.score(samples, views)), detector.classes
    return pd.concat(
        [
            scores_frame(samples.table, view, values, result.status, classes, result.classes(view) if classes else None)
            for view, values in result.values.items()
        ],
        ignore_index=True,
    )
