"""Promises about new images, kept on simulated ones."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from aigid.metrics import decisions
from aigid.metrics.classification import rank


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
