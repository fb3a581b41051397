"""What validation images choose, evaluated on test images; promises about new images, on simulated ones."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binomtest, norm
from sklearn import metrics as sk

from aigid.core import scores
from aigid.evaluation.evaluate import evaluate
from aigid.metrics import calibration, decisions
from aigid.metrics.classification import rank
from aigid.metrics.decisions import EvaluationSettings, flip_rates


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


def draw(rng: np.random.Generator, num: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(num) % 2
    return labels, norm.cdf(rng.normal(labels, 1))


@pytest.mark.parametrize("alpha", [0.1, 0.3])
@pytest.mark.parametrize("num", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_each_class_stays_possible_as_often_as_promised(alpha: float, num: int) -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(num):
        found = decisions.abstainer(rank(*draw(rng, 60)), alpha)
        measured = decisions.coverage(found, rank(*draw(rng, 400)))
        held.append((measured["coverage_real"], measured["coverage_fake"]))
        assert measured["wrong_real"] <= 1 - measured["coverage_real"] + 1e-12
    # 30 calibration images a class: the expected coverage is ceil(31 (1 - alpha)) / 31
    print(f"coverage of reals and fakes {np.mean(held, axis=0).round(4)}, promised {1 - alpha}")
    assert np.mean(held, axis=0) == pytest.approx(np.ceil(31 * (1 - alpha)) / 31, abs=0.015 * np.sqrt(300 / num))


def test_verdicts_by_hand() -> None:
    ranking = rank([0] * 9 + [1] * 9, [*np.arange(1, 10) / 20, *np.arange(7, 16) / 20])
    found = decisions.abstainer(ranking, 0.2)
    assert (found.highest_real, found.lowest_fake) == (0.4, 0.4)
    assert found.labels([0.39, 0.4, 0.41]).tolist() == ["real", "uncertain", "generated"]


def test_too_few_images_rule_nothing_out() -> None:
    found = decisions.abstainer(rank([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), 0.05)
    assert found.labels([0.0, 0.5, 1.0]).tolist() == ["uncertain"] * 3


def test_the_bound_of_an_operating_point_is_clopper_pearson_s() -> None:
    labels, values = draw(np.random.default_rng(1), 400)
    point = decisions.operating_point(rank(labels, values), 0.05)
    alarms = int(np.sum(values[labels == 0] > point.threshold))
    assert (point.fpr, point.num_real, alarms) == (0.05, 200, 10)
    expected = binomtest(alarms, 200).proportion_ci(0.9, method="exact").high
    assert point.fpr_bound == pytest.approx(expected, abs=1e-12)


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng, held = np.random.default_rng(2), 0
    for _ in range(300):
        point = decisions.operating_point(rank(*draw(rng, 200)), 0.05, level=0.9)
        held += norm.sf(norm.ppf(point.threshold)) <= point.fpr_bound
    assert held / 300 > 0.86


def test_a_bound_from_copies_is_that_of_the_originals() -> None:
    labels, values = draw(np.random.default_rng(3), 200)
    reals = np.sort(values[labels == 0])
    names = np.arange(100).astype(str)
    one = decisions.operating_point(rank(labels, values), 0.05)
    copied = rank(np.repeat(labels, 10), np.repeat(values, 10))
    again = decisions.operating_point(copied, 0.05, groups=np.repeat(names, 10))
    assert (reals == np.sort(copied.reals)[::10]).all()
    assert (again.threshold, again.fpr) == (one.threshold, one.fpr)
    assert again.fpr_bound == pytest.approx(one.fpr_bound, abs=1e-12)
    assert decisions.operating_point(copied, 0.05).fpr_bound < one.fpr_bound


def test_by_hand() -> None:
    rows = [
        *[("a", 0, 0.2), ("a", 0, 0.4), ("a", 0, 0.9)],  # flips, spread 0.7
        *[("b", 0, 0.1), ("b", 0, 0.5)],  # 0.5 is not above 0.5: no flip, spread 0.4
        *[("c", 1, 0.6), ("c", 1, 0.7)],  # no flip, spread 0.1
        ("d", 1, 0.9),  # one view only
        *[("e", 1, 0.9), ("e", 1, None)],  # one readable view only
    ]
    found = flip_rates(pd.DataFrame(rows, columns=["path", "label", "score"]), 0.5)
    assert found == {
        "flip_rate": pytest.approx(1 / 3),
        "flip_rate_real": 0.5,
        "flip_rate_fake": 0,
        "score_spread": pytest.approx(0.4),
    }


def test_one_view_has_a_reason() -> None:
    found = flip_rates(pd.DataFrame({"path": ["a"], "label": [0], "score": [0.3]}), 0.5)
    assert all(isinstance(value, str) for value in found.values())
