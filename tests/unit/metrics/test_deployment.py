"""What validation images choose, judged on test images: against the definitions, and back from disk."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import metrics as sk

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation.evaluate import evaluate
from aigid.metrics import calibration, decisions
from aigid.metrics.decisions import EvaluationSettings


def made(num: int = 2000) -> pd.DataFrame:
    """A detector that ranks well and is far too sure of itself."""
    rng, k = np.random.default_rng(0), np.arange(num)
    table = pd.DataFrame({"path": [f"{i:05}" for i in k], "label": k % 2, "view": "clean"})
    table["score"] = expit(4 * rng.normal(2 * (k % 2) - 0.2, 1.5))
    table["generator"], table["split"] = np.where(k % 2, "gan", "real"), np.where(k % 3, "test", "val")
    return scores.validate(table, "made")


@pytest.mark.parametrize("kind", ["temperature", "platt", "beta", "isotonic"])
def test_numbers_are_those_of_the_mapped_test_scores(kind: str) -> None:
    frame = made()
    found = evaluate(frame, n_bootstrap=0, settings=EvaluationSettings(calibrator=kind))
    test = frame[frame["split"] == "test"]
    after, label = found.deployment.calibrator(test["score"]), test["label"]
    assert found.metrics["brier_calibrated"] == pytest.approx(sk.brier_score_loss(label, after), abs=1e-12)
    assert found.metrics["nll_calibrated"] == pytest.approx(sk.log_loss(label, after), abs=1e-12)
    assert found.metrics["acc_calibrated"] == pytest.approx(np.mean((after > 0.5) == label), abs=1e-12)
    assert found.metrics["ece_calibrated"] < 0.6 * found.metrics["ece"]
    assert found.metrics["auroc"] == pytest.approx(sk.roc_auc_score(label, test["score"]), abs=1e-12)
    drawn = found.curves["calibrated"]
    assert drawn["num"].sum() == len(test)
    width = calibration.EQUAL_WIDTH
    error = np.average(np.abs(drawn["score"] - drawn["share"]), weights=drawn["num"])
    assert error == pytest.approx(found.metrics["ece_calibrated"], abs=1e-12)
    assert set(drawn["low"]) <= set(width)


def test_operating_point_and_abstention_are_counted_on_test_images() -> None:
    frame = made()
    found = evaluate(frame, n_bootstrap=0, settings=EvaluationSettings(fpr=0.02, alpha=0.2)).metrics
    real, fake = (frame[(frame["split"] == "test") & (frame["label"] == label)]["score"] for label in (0, 1))
    held = frame[(frame["split"] == "val") & (frame["label"] == 0)]["score"]
    assert (
        found["operating_fpr_val"]
        == np.mean(held > found["operating_threshold"])
        <= 0.02
        < found["operating_fpr_bound"]
    )
    assert found["operating_fpr"] == pytest.approx(np.mean(real > found["operating_threshold"]), abs=1e-12)
    assert found["operating_tpr"] == pytest.approx(np.mean(fake > found["operating_threshold"]), abs=1e-12)
    assert found["conformal_coverage_real"] == pytest.approx(0.8, abs=0.04)
    assert found["conformal_wrong_real"] <= 1 - found["conformal_coverage_real"] + 1e-12


def test_one_class_and_no_validation_have_reasons() -> None:
    frame = made()
    reals = evaluate(frame[(frame["split"] == "val") | (frame["label"] == 0)], n_bootstrap=0)
    missing = reals.missing_metrics
    assert missing["operating_tpr"] == missing["conformal_wrong_fake"] == "no readable test fakes"
    assert "operating_fpr" in reals.metrics
    none = evaluate(frame[frame["split"] == "test"], n_bootstrap=0)
    assert none.deployment is None
    assert none.missing_metrics["ece_calibrated"] == "no readable validation rows"
    assert len(none.curves["calibrated"]) == 0


def test_it_survives_the_disk_and_names_what_it_was_fitted_on(tmp_path: Path) -> None:
    frame = made()
    held = frame[frame["split"] == "val"].assign(group=lambda table: table["path"].str[:4])
    found = decisions.fit_decision_rule(held, EvaluationSettings(calibrator="isotonic"))
    decisions.save(found, tmp_path / "c.json")
    assert decisions.load(tmp_path / "c.json") == found
    population = json.loads((tmp_path / "c.json").read_text())["calibrator"]["population"]
    assert population["num_real"] + population["num_fake"] == len(held)
    assert population["num_groups"] == held["group"].nunique()
    assert population["generators"] == ["gan"]
    for text in ('{"calibrator": {"kind": "platt"}}', "no", "[]"):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(InputError, match="not a calibrator"):
            decisions.load(tmp_path / "c.json")
