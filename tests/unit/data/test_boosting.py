"""Boosted trees against scikit-learn's with the same settings."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

from aigid.data.audit.predictability import boosted_probabilities


def test_they_predict_as_well_as_scikit_learns():
    """Numbers, bands, names and what only two columns tell together; means of six draws."""
    aurocs, losses = np.transpose([_compare(np.random.default_rng(seed)) for seed in range(6)], (1, 0, 2)).mean(axis=1)
    assert aurocs[0] > aurocs[1] - 0.01
    assert losses[0] < losses[1] + 0.01


def _compare(rng, num=1200):
    """AUROC and log loss on a third of the rows, ours and theirs."""
    numbers, names = rng.normal(size=(num, 3)), rng.integers(0, 30, (num, 2))
    effect = rng.normal(size=30)[names[:, 0]] + 2 * (np.abs(numbers[:, 0]) < 0.5)
    effect += 2 * np.sign(numbers[:, 1] * numbers[:, 2])
    labels = (effect + rng.logistic(size=num) > effect.mean()).astype(int)
    values, is_name, seen = np.hstack([numbers, names]), [False] * 3 + [True] * 2, rng.random(num) < 0.7
    theirs = HistGradientBoostingClassifier(
        max_iter=25, learning_rate=0.2, max_leaf_nodes=4, categorical_features=is_name, early_stopping=False
    )
    found = boosted_probabilities(values, is_name, labels, seen)[~seen]
    expected = theirs.fit(values[seen], labels[seen]).predict_proba(values[~seen])[:, 1]
    return [[metric(labels[~seen], p) for p in (found, expected)] for metric in (roc_auc_score, log_loss)]


def test_it_is_one_step_of_newton_a_leaf_by_hand():
    """Two leaves of a column with two values; then 25 steps of 0.2 towards each leaf's log-odds."""
    values, labels = np.repeat([[0.0], [1.0]], 100, axis=0), np.tile([0, 0, 0, 1], 50)
    labels[100:] = 1 - labels[100:]
    found = boosted_probabilities(values, [False], labels, np.ones(200, bool))
    margin = 0.0
    for _ in range(25):
        p = 1 / (1 + np.exp(-margin))
        margin -= 0.2 * (p - 0.25) / (p * (1 - p))
    assert found[[0, 199]] == pytest.approx([1 / (1 + np.exp(-margin)), 1 / (1 + np.exp(margin))])
