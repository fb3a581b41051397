"""How well features predict the label: against scikit-learn, DeLong's variance, and features that say nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from aigid.data.audit.predictability import FOLDS, assign_folds, estimate, univariate_and_joint_auroc
from aigid.evaluation.comparison import delong


def labels_of(num):
    return np.arange(num) % 2


def alone(values, labels, units=None, seed=0):
    found, _ = univariate_and_joint_auroc(
        pd.DataFrame({"x": values}), labels, np.arange(len(labels)) if units is None else units, seed
    )
    return found[0]


def half_width(found):
    """Of the interval on the logit scale, back on the AUROC's own."""
    return (logit(found.high) - logit(found.low)) / 2 * found.auroc * (1 - found.auroc)


def test_auroc_is_that_within_folds():
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(0, 2, 200), rng.integers(0, FOLDS, 200)
    scores = np.round(rng.normal(labels), 1) + 10 * folds  # folds cannot be compared
    pairs = [np.prod(np.bincount(labels[folds == fold])) for fold in range(FOLDS)]
    own = [roc_auc_score(labels[folds == fold], scores[folds == fold]) for fold in range(FOLDS)]
    assert estimate(labels, scores, folds, np.arange(200)).auroc == pytest.approx(np.average(own, weights=pairs))


def test_interval_is_delongs_widened_for_shared_folds():
    rng = np.random.default_rng(1)
    labels, folds = labels_of(1000), np.arange(1000) // 2 % 2
    scores = rng.normal(labels)
    found = estimate(labels, scores, folds, np.arange(1000))
    variances = [delong(labels[folds == fold], scores[None, folds == fold])[1][0, 0] for fold in (0, 1)]
    nadeau_bengio = 1 + 2 / (2 - 1)
    assert half_width(found) == pytest.approx(1.96 * np.sqrt(nadeau_bengio * sum(variances) / 4), rel=0.01)


def test_copies_of_an_image_add_nothing():
    rng = np.random.default_rng(2)
    labels, scores, folds = labels_of(300), rng.normal(labels_of(300)), np.arange(300) // 2 % FOLDS
    once = estimate(labels, scores, folds, np.arange(300))
    thrice = estimate(*(np.repeat(values, 3) for values in (labels, scores, folds, np.arange(300))))
    assert (thrice.auroc, thrice.low, thrice.high) == pytest.approx((once.auroc, once.low, once.high))


def test_folds_keep_units_whole_and_classes_even():
    units = np.repeat(np.arange(60), 3)
    labels = np.where(units < 20, 0, np.where(units < 40, 1, np.arange(180) % 2))
    folds = assign_folds(labels, units, seed=0)
    assert pd.Series(folds).groupby(units).nunique().max() == 1
    assert set(np.bincount(folds)) == {36}
    assert np.ptp(pd.crosstab(folds, labels).to_numpy()) <= 4
    assert (folds == assign_folds(labels, units, seed=0)).all()
    assert (folds != assign_folds(labels, units, seed=1)).any()


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.normal(size=100),
        lambda rng: rng.integers(0, 2, 100),
        lambda rng: rng.choice(list("abcdefghijklm"), 100),
    ],
)
def test_what_says_nothing_comes_out_at_a_half(draw):
    rng = np.random.default_rng(3)
    found = [alone(draw(rng), rng.permutation(labels_of(100)), seed=seed) for seed in range(100)]
    aurocs = np.array([one.auroc for one in found])
    assert abs(aurocs.mean() - 0.5) < 4 * aurocs.std() / 10
    assert np.mean([one.p < 0.05 for one in found]) <= 0.1  # 0.05 expected at most
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.9


def test_nothing_together_comes_out_at_a_half():
    rng = np.random.default_rng(4)
    found = [
        univariate_and_joint_auroc(
            pd.DataFrame(rng.normal(size=(60, 6))), rng.permutation(labels_of(60)), np.arange(60), seed
        )[1]
        for seed in range(12)
    ]
    aurocs = np.array([one.auroc for one in found])
    assert abs(aurocs.mean() - 0.5) < 4 * aurocs.std() / np.sqrt(12)
    assert sum(one.p < 0.01 for one in found) <= 1


def test_one_value_is_exactly_a_half():
    found = alone(np.full(40, 512.0), labels_of(40))
    assert (found.auroc, found.low, found.high, found.p) == (0.5, 0.5, 0.5, 1.0)


def test_a_group_cannot_vouch_for_itself():
    labels, units = np.repeat(labels_of(50), 8), np.repeat(np.arange(50), 8)
    names = np.array([f"camera {unit}" for unit in units])  # known only to those who saw the group
    assert alone(names, labels, units).p > 0.01
    assert alone(names, labels, np.arange(400)).auroc == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_direction_is_learnt(sign):
    rng = np.random.default_rng(5)
    labels = labels_of(2000)
    values = rng.normal(labels)
    found = alone(sign * values, labels)
    assert found.auroc == pytest.approx(roc_auc_score(labels, values), abs=0.02)
    assert found.low < roc_auc_score(labels, values) < found.high


@pytest.mark.parametrize("num", [60, 400])
def test_single_values_bands_and_names_show(num):
    rng = np.random.default_rng(6)
    labels = labels_of(num)
    exact = np.where(labels == 1, 512, rng.integers(300, 800, num))
    band = np.where(
        labels == 1, rng.uniform(400, 600, num), np.r_[rng.uniform(0, 390, num // 2), rng.uniform(610, 999, num // 2)]
    )
    names = np.where(labels == 1, rng.choice(["webp", "png"], num), rng.choice(["jpeg", "tiff"], num))
    for values in (exact, band, names):
        found = alone(values, labels)
        assert found.auroc > 0.9
        assert found.p < 0.001
        assert found.low > 0.7


def test_together_sees_what_no_feature_sees_alone():
    rng = np.random.default_rng(7)
    first, second = rng.integers(0, 2, (2, 800))
    noise = rng.random(800) < 0.1
    table = pd.DataFrame({"a": first, "b": second.astype(str), "c": rng.normal(size=800)})
    found, together = univariate_and_joint_auroc(table, (first ^ second) ^ noise, np.arange(800), seed=0)
    assert max(one.auroc for one in found) < 0.6
    assert together.auroc > 0.8


def test_a_few_groups_of_both_classes_are_enough():
    labels, units = labels_of(300), np.repeat(np.arange(3), 100)
    values = np.random.default_rng(8).normal(3 * labels)
    assert set(assign_folds(labels, units, 0)) == {0, 1, 2}
    assert alone(values, labels, units).auroc > 0.95
    assert alone(values, labels, units).p > alone(values, labels).p


def test_few_but_perfect_is_proven_and_says_how_surely():
    found = alone(np.repeat([480.0, 512.0], 8), np.repeat([0, 1], 8))
    assert (found.auroc, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 8))
    assert found.p == pytest.approx(0.5**8)
