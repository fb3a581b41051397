"""What can be read from one trained teacher and student, beside the classifier N_c."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from aigid.detectors.gendet.model import GenDetModel, squared_cosine_distance
from aigid.training.tabular import Rows, batched, torch_generator

MAX_ROWS = 20_000  # training rows of the logistic regression
C = 0.01  # its inverse regularization

Readout = Callable[[Tensor], Tensor]


def readouts(network: GenDetModel, x: Rows, y: Tensor, seed: int) -> dict[str, Readout]:
    """Return functions of standardized features (n, dim) to scores (n,), higher for fakes, by name.

    ``x`` (N, dim) and ``y`` (N,) are training rows, from which only the logistic regression on Eq. 4 learns.
    ``teacher`` is what its head says, without any student.
    """
    student, teacher, classifier = network.student, network.teacher, network.classifier
    assert student is not None, "a teacher alone has no discrepancy"
    assert classifier is not None
    rows = torch.randperm(len(x), generator=torch_generator("gendet", "readouts", seed))[:MAX_ROWS].to(y.device)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="newton-cholesky"))
    model.fit(batched(network.output_difference, x[rows]).cpu().numpy(), y[rows].cpu().numpy())

    def regression(rows: Tensor) -> Tensor:
        scores = model.decision_function(network.output_difference(rows).cpu().numpy())
        return torch.from_numpy(np.asarray(scores, np.float32)).to(rows.device)

    return {
        "teacher": lambda rows: teacher.logits(rows).diff(dim=1).squeeze(1),
        "cosine_distance": lambda rows: squared_cosine_distance(teacher(rows), student(rows)),
        "mean_discrepancy": lambda rows: network.output_difference(rows).mean(dim=1),
        "logistic_regression": regression,
        "classifier": lambda rows: classifier(network.output_difference(rows)),
    }


def log_readouts(functions: dict[str, Readout], x: Rows, y: Tensor) -> pd.DataFrame:
    """Return the AUROC of each read-out on validation rows."""
    aurocs = [(name, auroc(y, batched(function, x))) for name, function in functions.items()]
    return pd.DataFrame(aurocs, columns=["readout", "val_auroc"])


def auroc(y: Tensor, scores: Tensor) -> float:
    """Return the AUROC; NaN where one class is missing."""
    return float(roc_auc_score(y.cpu(), scores.cpu())) if 0 < y.sum() < len(y) else float("nan")
