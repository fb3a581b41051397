"""Calibrators recover known distortions, and keep the order of scores."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.metrics import calibration
from aigid.metrics.classification import rank

KINDS = ("temperature", "platt", "beta", "isotonic")


def frame(values: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"{k:05}" for k in range(len(labels))], "label": labels, "score": values})
    table = table.assign(generator=np.where(labels == 1, "gan", "real"), split="val", view="clean")
    return scores.validate(table, "made")


def honest(num: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that come true as often as they say."""
    rng = np.random.default_rng(0)
    probability = expit(rng.normal(0, 2, num))
    return probability, (rng.random(num) < probability).astype(int)


@pytest.mark.parametrize(
    ("kind", "slope", "offset"), [("temperature", 3.0, 0.0), ("platt", 0.4, 1.5), ("beta", 2.0, -1.0)]
)
def test_a_known_distortion_is_undone(kind: str, slope: float, offset: float) -> None:
    probability, labels = honest()
    calibrator = calibration.fit(kind, frame(expit(slope * logit(probability) + offset), labels))
    weights = calibrator.parameters["weights"]
    assert weights[0] == pytest.approx(1 / slope, rel=0.06)
    assert calibrator(expit(slope * logit(probability) + offset)) == pytest.approx(probability, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_shrink_and_the_order_stays(kind: str) -> None:
    probability, labels = honest()
    crooked = expit(3 * logit(probability) + 1)
    found = calibration.fit(kind, frame(crooked, labels))
    edges = calibration.EQUAL_WIDTH
    before, after = (calibration.expected_calibration_error(rank(labels, x), edges) for x in (crooked, found(crooked)))
    assert after < 0.5 * before
    grid = np.linspace(0, 1, 500)
    assert np.all(np.diff(found(grid)) >= 0)
    assert found(grid).min() >= 0
    assert found(grid).max() <= 1


def test_isotonic_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.random(300).round(2), rng.integers(0, 2, 300)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(values, labels)
    grid = np.linspace(0, 1, 777)
    assert calibration.fit("isotonic", frame(values, labels))(grid) == pytest.approx(theirs.predict(grid), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_separable_and_extreme_scores_have_a_finite_map(kind: str) -> None:
    labels = np.arange(40) % 2
    found = calibration.fit(kind, frame(labels * 1.0, labels))
    assert found.population["num_real"] == 20
    assert np.isfinite(found([0.0, 0.3, 1.0])).all()
    assert np.diff(found([0.1, 0.9])) >= 0


def test_faults() -> None:
    probability, labels = honest(50)
    with pytest.raises(InputError, match="'plat'"):
        calibration.fit("plat", frame(probability, labels))
    with pytest.raises(InputError, match="found 0 real"):
        calibration.fit("platt", frame(probability, np.ones(50, int)))
