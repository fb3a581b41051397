"""GenDet's networks, the paper's equations, corrected where it prints them wrong, and read-outs of a trained pair."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from aigid.detectors.gendet.settings import TeacherSettings
from aigid.training.tabular import Rows, batched, torch_generator


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each added to its input; (B, n, width) to the same.

    The norm comes first so that the output keeps its length, which Eqs. 1, 3 and 4 measure.
    """

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._self_attention(self.norm_attention(tokens))
        return torch.add(tokens, self.down(gelu(self.up(self.norm_feed(tokens)))))

    def _self_attention(self, tokens: Tensor) -> Tensor:
        batch, num, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, num, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        result: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, num, width))
        return result


class Tokenizer(nn.Module):
    """(B, dim) to (B, num_tokens, width): one linear map, cut into tokens; the bias is their position embedding.

    The paper gives the width, 196, and no tokens; four of them make attention mean something.
    """

    def __init__(self, dim: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.shape = (num_tokens, width)
        self.linear = nn.Linear(dim, num_tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.reshape(self.linear(x), (-1, *self.shape))


class Student(nn.Module):
    """(B, dim) features to (B, num_tokens * width) outputs: the teacher without its head."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokeniser = Tokenizer(dim, shape.num_tokens, shape.width)  # spelled so in the weights files
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.block(self.tokeniser(x)), 1)


class Teacher(Student):
    """A student with a head of two logits, real and generated, for pre-training and the ablation "teacher"."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__(dim, shape)
        self.head = nn.Linear(shape.num_tokens * shape.width, 2)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B, 2) of features (B, dim)."""
        logits: Tensor = self.head(self(x))
        return logits


class Augmenter(nn.Module):
    """G, features (B, dim) of fakes to those of harder fakes; ``residual``: x + out(x), at first the identity."""

    def __init__(self, dim: int, shape: TeacherSettings, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.body = Student(dim, shape)
        self.out = nn.Linear(shape.num_tokens * shape.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.out(self.body(x))
        return x + change if self.residual else change


class Classifier(nn.Module):
    """N_c of Eq. 5, discrepancies (B, num_tokens * width) to logits (B,): a block, the mean of its tokens, a map."""

    def __init__(self, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokens = (shape.num_tokens, shape.width)
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)
        self.out = nn.Linear(shape.width, 1)

    def forward(self, discrepancies: Tensor) -> Tensor:
        return torch.squeeze(self.out(self.block(discrepancies.view(-1, *self.tokens)).mean(dim=1)), 1)


class GenDetModel(nn.Module):
    """Scaling, teacher and, unless ``teacher_only``, student and classifier; the augmenter is only for training."""

    mean: Tensor
    scale: Tensor

    def __init__(
        self, dim: int, shape: TeacherSettings, teacher_only: bool, normalize_discrepancy: bool = False
    ) -> None:
        super().__init__()
        self.normalize_discrepancy = normalize_discrepancy
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.teacher = Teacher(dim, shape)
        self.student = None if teacher_only else Student(dim, shape)
        self.classifier = None if teacher_only else Classifier(shape)

    def standardize(self, x: Tensor) -> Tensor:
        """Return embeddings (B, dim) as the networks take them."""
        return (x - self.mean) * self.scale

    def output_difference(self, x: Tensor) -> Tensor:
        """Return Eq. 4 of standardized features, (B, K); if normalized, of directions, times K to be of order one."""
        assert self.student is not None, "a teacher alone has no discrepancy"
        zt: Tensor = self.teacher(x)
        zs: Tensor = self.student(x)
        if self.normalize_discrepancy:
            return discrepancy(normalize(zt, dim=1), normalize(zs, dim=1)) * zt.shape[1]
        return discrepancy(zt, zs)

    def forward(self, x: Tensor) -> Tensor:
        """Return P(generated) (B,) of embeddings (B, dim): Eq. 5, or the teacher's softmax."""
        x = self.standardize(x)
        if self.classifier is None:
            return self.teacher.logits(x).softmax(dim=1)[:, 1]
        return torch.sigmoid(self.classifier(self.output_difference(x)))


def discrepancy(zt: Tensor, zs: Tensor) -> Tensor:
    """Return Eq. 4, the squared difference of each output, (B, K)."""
    return (zt - zs).square()


def squared_cosine_distance(zt: Tensor, zs: Tensor) -> Tensor:
    """Return 2 - 2 cos of both outputs, (B,) in [0, 4]: the squared chord of their directions."""
    return discrepancy(normalize(zt, dim=1), normalize(zs, dim=1)).sum(dim=1)


def real_loss(zt: Tensor, zs: Tensor, reduction: str = "mean") -> Tensor:
    """Return Eq. 1, mean over the batch; over the K outputs the ``mean`` or, as printed, the ``sum``.

    Eq. 3, the augmenter's loss, is the same of augmented fakes: the augmenter lowers what the student raises.
    """
    per_image = discrepancy(zt, zs)
    return (per_image.mean(dim=1) if reduction == "mean" else per_image.sum(dim=1)).mean()


def fake_loss(zt: Tensor, zs: Tensor, margin: float) -> Tensor:
    """Return Eq. 2: ``margin`` minus each squared chord, at least 0, mean over the batch (which the paper omits)."""
    return torch.relu(margin - squared_cosine_distance(zt, zs)).mean()


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
