"""The linear probe: logistic regression on standardized embeddings."""

from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, Field
from safetensors.numpy import save_file

from aigid.core.bundle_files import read_arrays
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import Floats, LabeledEmbeddings, mean_and_std, require_both_classes, unit_rows
from aigid.training import prior

MAX_NEWTON_WIDTH = 2048  # up to it a handful of steps where lbfgs, on ill-conditioned columns, takes hundreds
TOLERANCE = 1e-8  # of the gradient; one step more than the default
FILE = "weights.safetensors"
PositiveFloat = Annotated[float, Field(gt=0)]


class ProbeSettings(Settings):
    """The probe's numbers; of several ``c`` the one with the best validation AUROC is taken."""

    backbone: str
    dataset: str
    views: Annotated[tuple[str, ...], Field(min_length=1)] = ("clean",)  # of the images of train and val
    c: Annotated[
        list[PositiveFloat],
        Field(min_length=1),
        BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    ]
    max_iter: Annotated[int, Field(ge=1)] = 1000


class LinearProbe(EmbeddingDetector):
    """P(generated) = sigmoid(w x + b), with the standardization folded into w (D,) float64 and b.

    An imported one may be of embeddings of length 1 (``normalize`` in its state).
    """

    Settings = ProbeSettings

    def __init__(self, weight: Floats, bias: float, state: dict[str, Any]) -> None:
        if not (np.isfinite(weight).all() and np.isfinite(bias)):
            raise InputError("a linear head of NaN or infinity")
        self.weight, self.bias, self.state = weight, bias, state

    @classmethod
    def fit(cls, settings: ProbeSettings, train: LabeledEmbeddings, val: LabeledEmbeddings, seed: int) -> Self:
        """Fit on train for every C, choose the one that ranks val best (the first of equals); the seed is unused."""
        from sklearn.linear_model import LogisticRegression  # a second to import, which `predict` need not wait for
        from sklearn.metrics import log_loss, roc_auc_score

        require_both_classes(train, "train")
        if len(settings.c) > 1:
            require_both_classes(val, "val")
        mean, std = mean_and_std(train.x)
        scaled = (train.x - mean) / std
        solver = "newton-cholesky" if scaled.shape[1] <= MAX_NEWTON_WIDTH else "lbfgs"
        fits = {}
        for c in settings.c:
            model = LogisticRegression(C=c, max_iter=settings.max_iter, solver=solver, tol=TOLERANCE)
            model.fit(scaled, train.y)
            weight = model.coef_[0] / std
            fits[c] = (weight, float(model.intercept_[0] - weight @ mean))
        aurocs = {c: float(roc_auc_score(val.y, val.x @ weight)) for c, (weight, _) in fits.items() if len(fits) > 1}
        best = max(fits, key=lambda c: aurocs.get(c, 0.0))
        fitted = cls(*fits[best], {"c": best, "val_auroc": {str(c): auroc for c, auroc in aurocs.items()}})
        fitted.logs = {"fit": prior.table([log_loss(train.y, fitted.p_generated(train.x))], prior.prior_loss(train.y))}
        return fitted

    def p_generated(self, embeddings: Floats) -> Floats:
        if embeddings.shape[1] != len(self.weight):
            raise InputError(f"probe: of embeddings of {len(self.weight)} columns, these have {embeddings.shape[1]}")
        if self.state.get("normalize"):
            embeddings = unit_rows(embeddings.astype(np.float64))
        return 1 / (1 + np.exp(-np.clip(embeddings @ self.weight + self.bias, -700, 700)))

    def save(self, folder: Path) -> dict[str, Any]:
        save_file({"weight": self.weight, "bias": np.array([self.bias])}, folder / FILE)
        return self.state

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        arrays = read_arrays(folder / FILE, "weight(D) bias(1)")
        return cls(arrays["weight"], float(arrays["bias"][0]), state)


Detector = LinearProbe
