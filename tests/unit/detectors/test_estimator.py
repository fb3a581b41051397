"""A detector as a classifier of scikit-learn, by scikit-learn's own checks."""

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from aigid.core.errors import InputError
from aigid.detectors.estimator import DetectorClassifier


@parametrize_with_checks([DetectorClassifier(random_state=0), DetectorClassifier("knn")])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("detector", ["probe", "knn", "svm"])
def test_it_serves_cross_validation(detector):
    rng = np.random.default_rng(0)
    y = np.repeat(["photo", "fake"], 40)
    x = rng.normal(size=(80, 6)) + 3 * (y == "photo")[:, None]
    settings = {"svm": {"target": "label"}}.get(detector)
    model = DetectorClassifier(detector, settings, random_state=0)
    assert cross_val_score(model, x, y, scoring="roc_auc").mean() > 0.95
    fitted = model.fit(x, y)
    assert list(fitted.classes_) == ["fake", "photo"]  # the greater one counts as generated
    assert (fitted.predict(x) == y).mean() > 0.95


def test_what_it_cannot_do_is_said():
    x, y = np.zeros((10, 2)), np.arange(10) % 2
    with pytest.raises(InputError, match="'cnn' learns from images"):
        DetectorClassifier("cnn").fit(x, y)
    with pytest.raises(InputError, match=r"settings of probe.*greater than 0"):
        DetectorClassifier("probe", {"c": -1}).fit(x, y)
    with pytest.raises(InputError, match="unknown detector 'prob'"):
        DetectorClassifier("prob").fit(x, y)
