"""Every metric against scikit-learn, on made-up extremes and on published detectors' scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

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


def slow_error(labels: np.ndarray, scores: np.ndarray, bins: int) -> float:
    """Calibration error in equally wide bins (low, high], image by image."""
    edges, places = np.linspace(0, 1, bins + 1), [[] for _ in range(bins)]
    for label, score in zip(labels, scores, strict=True):
        places[next(b for b in range(bins) if score <= edges[b + 1])].append((label, score))
    return sum(abs(sum(label - score for label, score in own)) for own in places) / len(labels)


def compare(labels: np.ndarray, scores: np.ndarray) -> None:
    ranking, called = rank(labels, scores), scores > 0.5
    best = max(np.mean((scores >= cut) == labels) for cut in [*np.unique(scores), 2])
    pairs = [
        (classification.accuracy(ranking, 0.5), sk.accuracy_score(labels, called)),
        (classification.accuracy(ranking, classification.max_accuracy_threshold(ranking)), best),
        (calibration.expected_calibration_error(ranking, np.linspace(0, 1, 11)), slow_error(labels, scores, 10)),
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


@settings(max_examples=200, deadline=None)
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
