"""Calibration errors against a bin-by-bin loop over single images."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from aigid.metrics import calibration
from aigid.metrics.classification import rank

ROWS = st.lists(
    st.tuples(st.integers(0, 1), st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.2, 1.0]))), min_size=1, max_size=50
)


def slow_error(labels: np.ndarray, scores: np.ndarray, edges: np.ndarray) -> float:
    bins: dict[int, list[int]] = {}
    for k, score in enumerate(scores):
        bins.setdefault(next(b for b in range(len(edges) - 1) if score <= edges[b + 1]), []).append(k)
    return sum(abs(scores[part].mean() - labels[part].mean()) * len(part) for part in bins.values()) / len(scores)


@given(ROWS)
def test_error_is_the_slow_one(rows: list[tuple[int, float]]) -> None:
    labels, scores = np.array(rows).T
    ranking = rank(labels, scores)
    for edges in (calibration.EQUAL_WIDTH, calibration.equal_mass(ranking), calibration.equal_mass(ranking, 3)):
        assert calibration.expected_calibration_error(ranking, edges) == pytest.approx(
            slow_error(labels, scores, edges), abs=1e-12
        )


def test_equal_mass_bins_hold_equally_many_where_nothing_ties() -> None:
    scores = np.random.default_rng(0).random(600)
    bins = calibration.reliability_curve(
        rank(np.arange(600) % 2, scores), calibration.equal_mass(rank(np.arange(600) % 2, scores))
    )
    assert bins["num"].tolist() == [40] * 15


def test_equal_scores_share_a_bin() -> None:
    ranking = rank([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.8])
    bins = calibration.reliability_curve(ranking, calibration.equal_mass(ranking, 4))
    assert bins["num"].tolist() == [3, 1]
    assert bins["share"].tolist() == [pytest.approx(1 / 3), 1]


def test_a_sure_mistake_costs_what_the_clip_allows() -> None:
    assert calibration.log_loss(rank([1], [0.0])) == pytest.approx(-np.log(np.finfo(float).eps))


def test_isotonic_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.random(300).round(2), rng.integers(0, 2, 300)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(values, labels)
    rows = pd.DataFrame({"path": np.arange(300), "label": labels, "score": values, "view": "clean", "generator": "x"})
    grid = np.linspace(0, 1, 777)
    assert calibration.fit("isotonic", rows)(grid) == pytest.approx(theirs.predict(grid), abs=1e-12)
