"""What every calibrator promises: smaller errors, the order of the scores, and itself back from disk."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.metrics import calibration, decisions
from aigid.metrics.classification import rank

KINDS = get_args(decisions.EvaluationSettings.model_fields["calibrator"].annotation)
EVERY = pytest.mark.parametrize("kind", KINDS)


def frame(values: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"{k:05}" for k in range(len(labels))], "label": labels, "score": values})
    table = table.assign(generator=np.where(labels == 1, "gan", "real"), split="val", view="clean")
    return scores.validate(table, "scores")


def distorted(num: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that are too sure of themselves and too high, and labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, num)
    return expit(3 * logits + 1), (rng.random(num) < expit(logits)).astype(int)


@EVERY
def test_errors_shrink_and_probabilities_keep_the_order_of_the_scores(kind: str) -> None:
    values, labels = distorted()
    calibrator = calibration.fit(kind, frame(values, labels))
    before, after = (calibration.expected_calibration_error(rank(labels, x)) for x in (values, calibrator(values)))
    assert after < 0.5 * before
    probabilities = calibrator(np.linspace(0, 1, 500))
    assert (np.diff(probabilities) >= 0).all()
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


@EVERY
def test_separable_and_extreme_scores_have_a_finite_map(kind: str) -> None:
    labels = np.arange(40) % 2
    calibrator = calibration.fit(kind, frame(labels * 1.0, labels))
    assert calibrator.population["num_real"] == 20
    assert np.isfinite(calibrator([0.0, 0.3, 1.0])).all()
    assert np.diff(calibrator([0.1, 0.9])) >= 0


@EVERY
def test_what_is_saved_is_loaded_and_names_what_it_was_fitted_on(kind: str, tmp_path: Path) -> None:
    values, labels = distorted(200)
    rows = frame(values, labels).assign(group=lambda table: table["path"].str[:4])
    rule = decisions.fit_decision_rule(rows, decisions.EvaluationSettings(calibrator=kind))
    decisions.save(rule, tmp_path / "rule.json")
    loaded = decisions.load(tmp_path / "rule.json")
    assert loaded == rule
    assert np.array_equal(loaded.calibrator(values), rule.calibrator(values))
    document = json.loads((tmp_path / "rule.json").read_text())["calibrator"]
    assert document["kind"] == kind
    population = document["population"]
    assert (population["num_real"] + population["num_fake"], population["num_groups"]) == (200, 20)
    assert population["generators"] == ["gan"]


@EVERY
def test_rows_of_one_class_are_refused(kind: str) -> None:
    values, labels = distorted(50)
    with pytest.raises(InputError, match="found 0 real, 50 fake"):
        calibration.fit(kind, frame(values, np.ones(50, int)))
    with pytest.raises(InputError, match=f"'{kind}s': known are {', '.join(KINDS)}"):
        calibration.fit(f"{kind}s", frame(values, labels))


@pytest.mark.parametrize("text", ['{"calibrator": {"kind": "platt"}}', "no", "[]"])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "rule.json").write_text(text)
    with pytest.raises(InputError, match=r"rule\.json: not a calibrator"):
        decisions.load(tmp_path / "rule.json")


@pytest.mark.parametrize(
    ("kind", "slope", "offset"), [("temperature", 3.0, 0.0), ("platt", 0.4, 1.5), ("beta", 2.0, -1.0)]
)
def test_a_known_distortion_is_undone(kind: str, slope: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    probability = expit(rng.normal(0, 2, 20_000))
    labels = (rng.random(20_000) < probability).astype(int)
    calibrator = calibration.fit(kind, frame(expit(slope * logit(probability) + offset), labels))
    assert calibrator.parameters["weights"][0] == pytest.approx(1 / slope, rel=0.06)
    assert calibrator(expit(slope * logit(probability) + offset)) == pytest.approx(probability, abs=0.03)
