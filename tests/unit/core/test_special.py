"""Special functions, quantiles and the regressions built on them, against SciPy."""

import numpy as np
import pytest
from scipy import optimize
from scipy import special as reference

from aigid.core import special
from aigid.core.special import fit_logistic

TAILS = (0.001, 0.025, 0.5, 0.95, 0.999)


def test_functions_are_scipys():
    x, p = np.linspace(-800, 800, 999), np.linspace(0, 1, 999)
    np.testing.assert_allclose(special.expit(x), reference.expit(x), rtol=1e-14)
    np.testing.assert_allclose(special.logit(p), reference.logit(p), rtol=1e-13, atol=1e-15)
    for z in (-35, -8, -1, 0, 3):
        assert special.normal_cdf(z) == pytest.approx(reference.ndtr(z), rel=1e-12)
    assert special.expit(np.float32([-200, 1])).dtype == np.float32


@pytest.mark.parametrize("p", TAILS)
def test_quantiles_are_scipys(p):
    assert special.normal_quantile(p) == pytest.approx(reference.ndtri(p), rel=1e-12)
    for df in (1, 2, 9, 99, 1e3, 1e6):
        assert special.student_quantile(df, p) == pytest.approx(reference.stdtrit(df, p), rel=1e-8, abs=1e-12)
    for a in (1, 1.5, 20, 500, 1e4, 1e6):
        for b in (0.5, 1, 40, 1e3, 1e6):
            assert special.beta_quantile(a, b, p) == pytest.approx(reference.betaincinv(a, b, p), rel=1e-8), (a, b)


def test_isotonic_regression_is_scipys():
    rng = np.random.default_rng(0)
    for num in (1, 2, 400):
        y, weights = rng.random(num).round(1), rng.integers(1, 9, num)
        expected = optimize.isotonic_regression(y, weights=weights).x
        np.testing.assert_allclose(special.isotonic_regression(y, weights), expected, atol=1e-14)


@pytest.mark.parametrize("seed", range(60))
def test_logistic_regression_is_no_worse_than_scipys(seed):
    """On ill-scaled, constant, equal and separable columns, with slopes that end at 0."""
    rng = np.random.default_rng(seed)
    num, width = int(rng.integers(4, 600)), int(rng.integers(1, 6))
    num_slopes, labels = int(rng.integers(0, width + 1)), rng.integers(0, 2, num).astype(float)
    x = rng.normal(size=(num, width)) * rng.choice([0.01, 1, 30], width) + np.outer(labels, rng.normal(size=width))
    x[:, -1] = 1 if seed % 3 == 0 else x[:, -1]
    x[:, 0] = x[:, -1] if seed % 7 == 0 else x[:, 0]
    labels = (x[:, 0] > np.median(x[:, 0])).astype(float) if seed % 5 == 0 else labels
    fakes, reals = labels.sum(), num - labels.sum()
    target = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))

    def loss(weights):
        z = x @ weights
        return np.mean(np.logaddexp(0, z) - target * z), x.T @ (reference.expit(z) - target) / num

    bounds = [(0, None)] * num_slopes + [(None, None)] * (width - num_slopes)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    start = np.where(np.arange(width) < num_slopes, 1.0, 0.0)
    expected = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    found = fit_logistic(x, labels, num_slopes)
    assert (found[:num_slopes] >= 0).all()
    assert loss(found)[0] <= loss(expected)[0] + 1e-13
