"""What is said about one image, for programs and for people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from aigid.core.embeddings import OK
from aigid.metrics.decisions import UNCERTAIN
from aigid.prediction.inputs import MANIFEST_COLUMNS


@dataclass(frozen=True)
class Prediction:
    """One image and one bundle; of an image that cannot be read, ``status`` and ``error`` alone.

    ``score`` is the detector's P(generated) as the pipeline has it, ``probability`` the calibrated one. ``details``:
    ``detector``, ``calibrated``, ``reasons`` for uncertainty, ``limits``, ``classes`` (probability by generator),
    ``stability`` (score of each view, spread, flips) and ``embedded_metadata`` (metadata, which no score has seen).
    """

    path: str
    status: str = OK
    error: str = ""
    score: float | None = None
    probability: float | None = None
    verdict: str | None = None
    threshold: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Could it be read?"""
        return self.status == OK

    @property
    def uncertain(self) -> bool:
        """Is the verdict that there is none?"""
        return self.verdict == UNCERTAIN

    def document(self) -> dict[str, Any]:
        """As flat JSON; what is not known is left out."""
        if not self.ok:
            return {"path": self.path, "status": self.status, "error": self.error, **self.details}
        found = {"path": self.path, "status": self.status, "score": self.score, "probability": self.probability}
        found |= {"verdict": self.verdict, "uncertain": self.uncertain, "threshold": self.threshold, **self.details}
        return {name: value for name, value in found.items() if value is not None}


# Predictions as a scores file and as a table.

STYLES = {"real": "green", "generated": "red", "uncertain": "yellow"}


def scores_file(images: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """A scores file's rows, one an image and view; an image whose class nobody told has no label.

    Where no split is known it is ``test``; ``probability`` and ``verdict`` stand beside the score.
    """
    rows = []
    for known, found in zip(images.to_dict("records"), predictions, strict=True):
        row = {"path": found.path} | {name: known.get(name, "") for name in MANIFEST_COLUMNS}
        row |= {"split": row["split"] or "test", "status": found.status}
        classes = {f"class_{name}": share for name, share in found.details.get("classes", {}).items()}
        row |= {"view": "clean", "score": found.score, "probability": found.probability, "verdict": found.verdict}
        rows.append(row | classes)
        for view, score in found.details.get("stability", {}).get("scores", {}).items():
            if view != "clean":
                rows.append(row | {"view": view, "score": score, "probability": None, "verdict": None})
    first = ("path", "label", "generator", "split", "view", "score")
    table = pd.DataFrame(rows)
    return table[[*first, *(column for column in table if column not in first)]]


def table(rows: Sequence[Sequence[Prediction]], names: Sequence[str]) -> Table:
    """What a person reads: a line for each image and bundle."""
    shown = Table("image", *(["model"] if len(names) > 1 else []), "verdict", "P(generated)", "score", "remarks")
    for predictions in rows:
        for name, found in zip(names, predictions, strict=True):
            cells = [found.path, *([name] if len(names) > 1 else []), *_cells(found)]
            shown.add_row(*map(_text, cells))
    return shown


def _text(cell: str) -> Text:
    """As it stands: names may hold Rich's markup, bytes that are no UTF-8, and what moves the cursor."""
    printable = cell.encode("utf-8", "backslashreplace").decode()
    return Text("".join(it if it.isprintable() else repr(it)[1:-1] for it in printable), STYLES.get(cell, ""))


def _cells(found: Prediction) -> list[str]:
    if not found.ok:
        return ["-", "", "", f"{found.status}: {found.error}"]
    probability = "uncalibrated" if found.probability is None else f"{found.probability:.1%}"
    remarks = list(found.details["reasons"])
    if classes := found.details.get("classes"):
        remarks.append(f"most like {max(classes, key=classes.get)}")
    if stability := found.details.get("stability"):
        remarks.append(f"spread {stability['spread']:.2f} over deliveries")
    if said := found.details.get("embedded_metadata"):
        remarks.append(f"says of itself: {said['summary']}")
    return [found.verdict, probability, f"{found.score:.3f}", "; ".join(remarks)]
