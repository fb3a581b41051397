"""What a user of a detector works with, chosen on validation images alone: probabilities, a threshold, abstention."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.base import params
from aigid.base.errors import InputError
from aigid.base.files import write_json
from aigid.evaluation import calibration, calibrators, conformal, metrics
from aigid.evaluation.calibrators import Calibrator
from aigid.evaluation.conformal import Abstainer, OperatingPoint
from aigid.evaluation.headline import ANY, FAKES, REALS, Findings, lacking
from aigid.evaluation.ranking import Ranking, rank
from aigid.evaluation.scores import rank_rows

ABSTENTION = [f"{what}_{side}" for what in ("coverage", "wrong", "uncertain") for side in ("real", "fake")]
KEYS = (
    *("operating_threshold", "operating_fpr_val", "operating_fpr_bound", "operating_fpr", "operating_tpr"),
    *("ece_calibrated", "brier_calibrated", "nll_calibrated", "acc_calibrated"),
    *(f"conformal_{name}" for name in ABSTENTION),
)


class EvaluationSettings(params.Settings):
    """How scores become verdicts: the calibrator, the false positive rate aimed at, and the errors of abstention."""

    calibrator: Literal["temperature", "platt", "beta", "isotonic"] = "platt"
    fpr: Annotated[float, Field(ge=0, lt=1)] = 0.05
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1


@dataclass(frozen=True)
class Deployment:
    """All three hold for images like those of ``calibrator.population``; the last two cut the scores as they were."""

    calibrator: Calibrator
    operating_point: OperatingPoint
    abstainer: Abstainer


def deploy(validation: pd.DataFrame, settings: EvaluationSettings) -> Deployment:
    """From checked validation rows of one view; InputError where a class is missing."""
    calibrator, ranking = calibrators.fit(settings.calibrator, validation), rank_rows(validation)
    groups = None
    if "group" in validation:
        reals = validation[(validation["label"] == 0) & validation["score"].notna()]
        groups = reals.sort_values(["score", "group"])["group"].to_numpy(str)
    point = conformal.operating_point(ranking, settings.fpr, groups=groups)
    return Deployment(calibrator, point, conformal.abstainer(ranking, settings.alpha))


def calibrated(found: Deployment, ranking: Ranking) -> Ranking:
    """The ranking of the calibrated scores."""
    sides = found.calibrator(ranking.reals), found.calibrator(ranking.fakes)
    return rank(np.repeat([0, 1], [len(side) for side in sides]), np.concatenate(sides))


def measure(found: Deployment, ranking: Ranking) -> Findings:
    """How it fares on test images: ``KEYS``, or why there is no such number."""
    after, point = calibrated(found, ranking), found.operating_point
    measured: dict[str, tuple[Callable[[], float], tuple[str, ...]]] = {
        "operating_fpr": (lambda: 1 - metrics.real_accuracy(ranking, point.threshold), REALS),
        "operating_tpr": (lambda: metrics.fake_accuracy(ranking, point.threshold), FAKES),
        "ece_calibrated": (lambda: calibration.expected_error(after, calibration.equal_width()), ANY),
        "brier_calibrated": (lambda: calibration.brier(after), ANY),
        "nll_calibrated": (lambda: calibration.log_loss(after), ANY),
        "acc_calibrated": (lambda: metrics.accuracy(after, 0.5), ANY),
    }
    covered = conformal.coverage(found.abstainer, ranking)
    return {
        "operating_threshold": point.threshold,
        "operating_fpr_val": point.fpr,
        "operating_fpr_bound": point.fpr_bound,
        **{name: lacking(ranking, needs) or measure() for name, (measure, needs) in measured.items()},
        **{f"conformal_{name}": covered.get(name, f"no readable test {name[-4:]}s") for name in ABSTENTION},
    }


def save(found: Deployment, path: Path | str) -> None:
    """Write it as JSON, atomically."""
    write_json(path, asdict(found))


def load(path: Path | str) -> Deployment:
    """Read what ``save`` wrote; InputError where it is nothing of the kind."""
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        found = Deployment(
            Calibrator(**fields["calibrator"]),
            OperatingPoint(**fields["operating_point"]),
            Abstainer(**fields["abstainer"]),
        )
        found.calibrator([0.0, 1.0])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a calibrator: {error}") from None
    return found
