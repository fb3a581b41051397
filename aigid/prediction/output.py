"""Predictions, as JSON, as a scores file and as a table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from aigid.core import escape
from aigid.core.embeddings import OK
from aigid.metrics.decisions import UNCERTAIN
from aigid.prediction.inputs import MANIFEST_COLUMNS


@dataclass(frozen=True)
class Prediction:
    """One image and one bundle; of an image that cannot be read, ``status`` and ``error`` alone.

    ``score`` is the detector's P(generated) as the pipeline has it, ``probability`` the calibrated one, ``scores`` that
    of each view. ``warnings`` make any verdict unsafe. ``occlusion_map`` (8, 8) says by how much the score falls where
    a cell is covered. ``details``: ``detector``, ``model``, ``calibrated``, ``reasons`` for uncertainty,
    ``note`` on the reading, ``classes`` (probability by generator), ``predicted`` (the class decided for),
    ``stability`` (score of each delivery, spread, flips) and ``embedded_metadata``, which no score has seen.
    """

    path: str
    status: str = OK
    error: str = ""
    score: float | None = None
    probability: float | None = None
    verdict: str | None = None
    threshold: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    occlusion_map: NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def uncertain(self) -> bool:
        return self.verdict == UNCERTAIN

    def to_json(self) -> dict[str, Any]:
        """Return a flat JSON object; what is not known is left out."""
        if not self.ok:
            return {"path": self.path, "status": self.status, "error": self.error, **self.details}
        fields = {"path": self.path, "status": self.status, "score": self.score, "probability": self.probability}
        fields |= {"verdict": self.verdict, "uncertain": self.uncertain, "threshold": self.threshold, **self.details}
        return {name: value for name, value in fields.items() if value is not None}


FIRST_COLUMNS = ("path", "label", "generator", "split", "view", "score")
STYLES = {"real": "green", "generated": "red", "uncertain": "yellow"}


def scores_file(images: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Return a scores file's rows, one an image and view; an image of unknown class has no label.

    Where no split is known it is ``test``; ``probability`` and ``verdict`` stand beside the score.
    """
    rows = []
    for known, prediction in zip(images.to_dict("records"), predictions, strict=True):
        row = {"path": prediction.path} | {name: known.get(name, "") for name in MANIFEST_COLUMNS}
        row |= {"split": row["split"] or "test", "status": prediction.status, "view": "clean"}
        row |= {name: getattr(prediction, name) for name in ("score", "probability", "verdict")}
        row |= {"model": prediction.details["model"]}
        classes = prediction.details.get("classes", {})
        row |= {"predicted": prediction.details["predicted"]} if classes else {}
        rows.append(row | {f"class_{name}": share for name, share in classes.items()})
        for view, score in prediction.details.get("stability", {}).get("scores", {}).items():
            if view != "clean":
                rows.append(row | {"view": view, "score": score, "probability": None, "verdict": None})
    table = pd.DataFrame(rows)
    return table[[*FIRST_COLUMNS, *(column for column in table if column not in FIRST_COLUMNS)]]


def table(rows: Sequence[Sequence[Prediction]], names: Sequence[str]) -> Table:
    """Return what a person reads: a line for each image and bundle."""
    result = Table("image", *(["model"] if len(names) > 1 else []), "verdict", "P(generated)", "score", "remarks")
    for predictions in rows:
        for name, prediction in zip(names, predictions, strict=True):
            cells = [prediction.path, *([name] if len(names) > 1 else []), *_cells(prediction)]
            result.add_row(*map(_text, cells))
    return result


def _text(cell: str) -> Text:
    """Return it as it stands: names may hold Rich's markup, bytes that are no UTF-8, and what moves the cursor."""
    return Text(escape.terminal(cell), STYLES.get(cell, ""))


def _cells(prediction: Prediction) -> list[str]:
    if not prediction.ok:
        return ["-", "", "", f"{prediction.status}: {prediction.error}"]
    probability = "uncalibrated" if prediction.probability is None else f"{prediction.probability:.1%}"
    remarks = list(prediction.details["reasons"])
    if note := prediction.details.get("note"):
        remarks.append(note)
    if predicted := prediction.details.get("predicted"):
        remarks.append(f"most like {predicted}")
    if stability := prediction.details.get("stability"):
        remarks.append(f"spread {stability['spread']:.2f} over deliveries")
    if metadata := prediction.details.get("embedded_metadata"):
        remarks.append(f"says of itself: {metadata['summary']}")
    return [str(prediction.verdict), probability, f"{prediction.score:.3f}", "; ".join(remarks)]
