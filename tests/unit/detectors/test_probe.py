"""The linear probe equals scikit-learn's own pipeline, and takes the C that ranks validation best."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aigid.core.errors import InputError
from aigid.detectors import probe as probe_module
from aigid.detectors.probe import LinearProbe, ProbeSettings
from aigid.detectors.samples import LabeledEmbeddings
from tests.helpers.embeddings import separable_rows


def rows(seed, num=300):
    result = separable_rows(seed, num)
    result.x[:, 5] = 2.5  # a constant column must not divide by zero
    return result


def settings(c):
    return ProbeSettings(backbone="b", dataset="d", c=c)


@pytest.mark.parametrize("max_newton_width", [10**6, 1])
def test_equals_scikit_learn(monkeypatch, max_newton_width):
    monkeypatch.setattr(probe_module, "MAX_NEWTON_WIDTH", max_newton_width)
    train, val = rows(0), rows(1)
    probe = LinearProbe.fit(settings(0.3), train, val, seed=0)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=10000, tol=1e-10)).fit(
        train.x.astype(np.float64), train.y
    )
    expected = reference.predict_proba(val.x.astype(np.float64))[:, 1]
    np.testing.assert_allclose(probe.p_generated(val.x), expected, atol=1e-6)


def test_validation_chooses_c():
    train, val = rows(0, num=40), rows(1)
    grid = [1e-4, 1e-2, 1.0, 100.0]
    aurocs = [roc_auc_score(val.y, LinearProbe.fit(settings(c), train, val, 0).p_generated(val.x)) for c in grid]
    chosen = LinearProbe.fit(settings(grid), train, val, 0).state
    assert chosen["c"] == grid[int(np.argmax(aurocs))]
    np.testing.assert_allclose(list(chosen["val_auroc"].values()), aurocs, atol=1e-12)


def test_extreme_inputs_stay_probabilities():
    probe = LinearProbe(np.array([1e30]), 0.0, {})
    np.testing.assert_array_equal(probe.p_generated(np.array([[-1.0], [0.0], [1.0]], np.float32)).round(9), [0, 0.5, 1])


def test_one_class_is_refused():
    train = rows(0)
    reals = LabeledEmbeddings(train.x[train.y == 0], train.y[train.y == 0])
    with pytest.raises(InputError, match="split val: 150 real and 0 generated"):
        LinearProbe.fit(settings([0.1, 1.0]), train, reals, 0)
    LinearProbe.fit(settings(1.0), train, LabeledEmbeddings(train.x[:0], train.y[:0]), 0)  # one C needs no validation
