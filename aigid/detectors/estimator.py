"""A detector of embeddings as a scikit-learn classifier, for pipelines, searches and cross-validation."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from aigid.core import params
from aigid.core.errors import InputError
from aigid.detectors import get_detector
from aigid.detectors.protocol import EmbeddingDetector, enough_rows
from aigid.detectors.samples import Floats, LabeledEmbeddings

DEFAULTS: dict[str, dict[str, Any]] = {"probe": {"c": 1.0}, "knn": {"k": 1}}  # of settings that have none


class DetectorClassifier(ClassifierMixin, BaseEstimator):
    """Fits ``detector`` (`probe`, `knn`, `svm`, `gendet`, ...) on embeddings (N, D) and labels of two classes.

    ``settings`` are those of its section in params.yaml, but for `backbone` and `dataset`. The greater class is the
    generated one. A stratified ``validation_fraction`` of the rows, drawn by ``random_state``, makes the detector's
    choices (C, k, epochs); 0 makes them on the rows that it learns from.
    """

    def __init__(
        self,
        detector: str = "probe",
        settings: dict[str, Any] | None = None,
        validation_fraction: float = 0.2,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.detector, self.settings = detector, settings
        self.validation_fraction, self.random_state = validation_fraction, random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 (scikit-learn's name)
        """Return the fitted classifier; ValueError for other than two classes, InputError for wrong settings."""
        x, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) == 1:
            raise ValueError("y has one class: want two, real and generated")
        if len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The number of classes is {len(self.classes_)}.")
        kind = get_detector(self.detector)
        if not issubclass(kind, EmbeddingDetector):
            raise InputError(f"detector {self.detector!r} learns from images, not from embeddings")
        section = {"backbone": "", "dataset": ""} | DEFAULTS.get(self.detector, {}) | (self.settings or {})
        settings = params.validate(section, kind.Settings, f"settings of {self.detector}")
        random = check_random_state(self.random_state)
        train, val = self._split(x, labels, random)
        self.detector_ = kind.fit(settings, train, val, int(random.randint(2**31)))
        return self

    def _split(
        self, x: Floats, labels: Any, random: np.random.RandomState
    ) -> tuple[LabeledEmbeddings, LabeledEmbeddings]:
        rows = [np.arange(len(labels))] * 2
        if self.validation_fraction and np.bincount(labels).min() * min(self.validation_fraction, 0.5) >= 1:
            rows = train_test_split(rows[0], test_size=self.validation_fraction, stratify=labels, random_state=random)
        names = np.where(labels == 1, "generated", "real")
        parts = [
            LabeledEmbeddings(x[part], labels[part], part.astype(str), (x.shape[1],), names[part]) for part in rows
        ]
        return parts[0], parts[1]

    def predict_proba(self, X: ArrayLike) -> Floats:  # noqa: N803
        """Return the probabilities (N, 2) of the classes in the order of ``classes_``."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float32, reset=False)
        generated = self.detector_.p_generated(enough_rows(x))[: len(x)]
        return np.column_stack([1 - generated, generated])

    def predict(self, X: ArrayLike) -> Any:  # noqa: N803
        """Return the more probable class (N,) of each row."""
        generated = self.predict_proba(X)[:, 1] > 0.5
        return self.classes_[generated.astype(int)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
