"""Metrics against scikit-learn, on extremes and on published detectors' scores; thresholds against slow searches."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from aigid.evaluation import ufd
from aigid.metrics import calibration, classification
from aigid.metrics.classification import rank

ORACLES = Path(__file__).parents[4] / "shared/oracles/scores.csv"
TOLERANCE = 1e-12
GRID = st.sampled_from([0.0, 5e-324, 0.1, 0.25, 0.5, np.nextafter(0.5, 1), 1 - 2**-53, 1.0])
ROWS = st.one_of(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60),
    st.lists(st.tuples(st.integers(0, 1), GRID), min_size=1, max_size=60),
)


def best_tpr(labels: np.ndarray, scores: np.ndarray, fpr: float) -> float:
    x, y, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return y[x <= fpr].max()


def compare(labels: np.ndarray, scores: np.ndarray) -> None:
    ranking, called = rank(labels, scores), scores > 0.5
    best = max(np.mean((scores >= cut) == labels) for cut in [*np.unique(scores), 2])
    pairs = [
        (classification.accuracy(ranking, 0.5), sk.accuracy_score(labels, called)),
        (classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)), best),
        (calibration.brier(ranking), np.mean((scores - labels) ** 2)),
        (calibration.log_loss(ranking), sk.log_loss(labels, scores, labels=[0, 1])),
    ]
    if ranking.has_both:
        rare = classification.precision_at(ranking, 0.5, 0.01)
        weight = np.where(labels == 1, 0.01 / np.sum(labels == 1), 0.99 / np.sum(labels == 0))
        if called.any():
            pairs.append((rare, sk.precision_score(labels, called, sample_weight=weight)))
        else:
            assert rare is None
        pairs += [
            (classification.auroc(ranking), sk.roc_auc_score(labels, scores)),
            (classification.average_precision(ranking), sk.average_precision_score(labels, scores)),
            (classification.partial_auroc(ranking, 0.05), sk.roc_auc_score(labels, scores, max_fpr=0.05)),
            (classification.tpr_at_fpr(ranking, 0.01), best_tpr(labels, scores, 0.01)),
            (classification.tpr_at_fpr(ranking, 0.05), best_tpr(labels, scores, 0.05)),
            (classification.real_accuracy(ranking, 0.5), sk.recall_score(labels, called, pos_label=0)),
            (classification.fake_accuracy(ranking, 0.5), sk.recall_score(labels, called)),
            (classification.balanced_accuracy(ranking, 0.5), sk.balanced_accuracy_score(labels, called)),
            (classification.f1(ranking, 0.5), sk.f1_score(labels, called, zero_division=0)),
            (classification.f1_macro(ranking, 0.5), sk.f1_score(labels, called, average="macro", zero_division=0)),
        ]
    for ours, theirs in pairs:
        assert ours == pytest.approx(theirs, abs=TOLERANCE, rel=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_scikit_learn_agrees(rows: list[tuple[int, float]]) -> None:
    compare(*np.array(rows).T)


@pytest.mark.skipif(not ORACLES.exists(), reason="no published scores at ../shared/oracles/scores.csv")
def test_scikit_learn_agrees_on_published_scores() -> None:
    table = pd.read_csv(ORACLES)
    cells = [*table.groupby("file"), *table.groupby(["file", "split"])]
    assert len(cells) > 45
    for _, part in cells:
        compare(part["label"].to_numpy(), part["prob_fake"].to_numpy())


def test_precision_at_the_data_s_own_prevalence_is_precision() -> None:
    labels, scores = np.array([1, 1, 0, 0, 0, 1, 0, 0]), np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4, 0.6])
    ranking = rank(labels, scores)
    assert classification.precision_at(ranking, 0.5, 3 / 8) == pytest.approx(
        sk.precision_score(labels, scores > 0.5), abs=1e-15
    )
    assert classification.precision_at(ranking, 0.95, 0.5) is None


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learn_s(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    assert classification.macro_f1(truth, predicted) == pytest.approx(
        sk.f1_score(truth, predicted, average="macro"), abs=TOLERANCE
    )


def test_order_and_label_type_change_no_digit() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 500), rng.random(500).round(2)
    shuffled = rng.permutation(500)
    first = rank(labels, scores)
    for second in (
        rank(labels[shuffled], scores[shuffled]),
        rank(labels.astype(bool), scores),
        rank(labels * 1.0, scores),
    ):
        for metric in (*classification.RANKED.values(), calibration.brier, calibration.log_loss):
            assert metric(first) == metric(second)


CUTS = st.sampled_from([0.0, 5e-324, 0.2, 0.5, np.nextafter(0.5, 1), 0.9, 1.0])
SCORES = st.lists(st.one_of(CUTS, st.floats(0, 1)), min_size=1, max_size=25)


@given(SCORES, SCORES)
def test_most_accurate_is_the_best_of_all_cuts(reals: list[float], fakes: list[float]) -> None:
    ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
    best = max(classification.accuracy(ranking, cut) for cut in (-1.0, *reals, *fakes))
    assert classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)) == best


def test_most_accurate_lies_half_way_between_neighbours() -> None:
    assert classification.max_accuracy_threshold(rank([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7])) == pytest.approx(0.4)
    assert classification.max_accuracy_threshold(rank([0, 1], [0.0, 0.0])) in (0.5, -1.0)


@given(SCORES, SCORES, st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_at_most_fpr_is_the_lowest_threshold_that_keeps_the_promise(
    reals: list[float], fakes: list[float], fpr: float
) -> None:
    ranking = rank([0] * len(reals) + [1] * len(fakes), reals + fakes)
    found = classification.fake_accuracy(ranking, classification.threshold_at_fpr(ranking, fpr))
    allowed = [cut for cut in (-1.0, *reals, *fakes) if np.mean(np.array(reals) > cut) <= fpr]
    assert found == max(classification.fake_accuracy(ranking, cut) for cut in allowed)


def literal_ufd(real: list[float], fake: list[float]) -> float:
    """validate.py's rule word for word: every score tried, the last of the best kept."""
    if max(real) <= min(fake):
        return (max(real) + min(fake)) / 2
    best_acc, best_threshold, total = 0.0, 0.0, len(real) + len(fake)
    for threshold in [*real, *fake]:
        right = sum(score < threshold for score in real) + sum(score >= threshold for score in fake)
        if right / total >= best_acc:
            best_acc, best_threshold = right / total, threshold
    return best_threshold


@given(SCORES, SCORES)
def test_ufd_threshold_is_the_published_one(reals: list[float], fakes: list[float]) -> None:
    assert ufd.ufd_threshold(reals, fakes) == literal_ufd(reals, fakes)


def test_ufd_off_by_one_turns_the_image_at_the_threshold() -> None:
    reals, fakes = [0.1, 0.2, 0.7], [0.4, 0.8, 0.9]
    cut = ufd.ufd_threshold(reals, fakes)
    assert cut == 0.8  # 0.4 is as good (five of six right at >=), but 0.8 comes later; at > its own image is lost
    ranking = rank([0, 0, 0, 1, 1, 1], reals + fakes)
    assert classification.accuracy(ranking, cut) == pytest.approx(4 / 6)
    assert classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("sizes", "drawn"), [((1500, 1000), (1000, 1000)), ((1500, 999), (100, 100)), ((50, 40), (50, 40))]
)
def test_ufd_sample_falls_to_100(sizes: tuple[int, int], drawn: tuple[int, int]) -> None:
    sample = ufd.ufd_subsample(range(sizes[0]), range(sizes[1]))
    assert tuple(len(set(side)) for side in sample) == drawn
    assert sample == ufd.ufd_subsample(range(sizes[0]), range(sizes[1]))


@pytest.mark.parametrize("num", [10, 400, 30_000])
@pytest.mark.parametrize("decimals", [1, 15])
def test_roc_is_the_full_one_to_the_eye(num: int, decimals: int) -> None:
    rng = np.random.default_rng(num)
    labels = np.arange(num) % 2
    scores = (rng.random(num) * 0.7 + 0.3 * labels).round(decimals)
    drawn = classification.roc(rank(labels, scores))
    fpr, tpr, _ = sk.roc_curve(labels, scores)
    assert len(drawn) <= classification.POINTS
    assert drawn.iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    assert set(zip(drawn["fpr"], drawn["tpr"], strict=True)) <= set(zip(fpr, tpr, strict=True)) | {(0, 0)}
    assert np.trapezoid(drawn["tpr"], drawn["fpr"]) == pytest.approx(sk.roc_auc_score(labels, scores), abs=0.002)


def test_precision_recall_keeps_the_points_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(0, 2, 300), rng.random(300).round(2)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    full = {(round(r, 12), round(p, 12)) for r, p in zip(recall, precision, strict=True)}
    drawn = classification.precision_recall(rank(labels, scores))
    assert drawn.iloc[0].tolist() == [0, drawn["precision"][1]]
    assert {(round(r, 12), round(p, 12)) for r, p in drawn.to_numpy()[1:]} <= full
    assert drawn["recall"].is_monotonic_increasing


def test_straight_runs_go_and_corners_stay() -> None:
    x, y = np.array([0, 0.25, 0.5, 0.5, 1]), np.array([0, 0.5, 1, 1, 1])
    assert [(x[k], y[k]) for k in classification.thin(x, y, 500)] == [(0, 0), (0.5, 1), (1, 1)]
