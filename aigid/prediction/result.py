"""What is said about one image, for programs and for people."""

from dataclasses import dataclass, field
from typing import Any

from aigid.evaluation.conformal import UNCERTAIN
from aigid.store import OK


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
