"""A trained GenDet: what is needed to judge a feature, the augmenter left behind."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from aigid.detectors.gendet.classifier import Classifier
from aigid.detectors.gendet.losses import discrepancy
from aigid.detectors.gendet.settings import TeacherSettings
from aigid.detectors.gendet.student import Student
from aigid.detectors.gendet.teacher import Teacher


class Network(nn.Module):
    """Scaling, teacher, and, but for a teacher alone, student and classifier."""

    def __init__(self, dim: int, shape: TeacherSettings, alone: bool, normalized: bool = False) -> None:
        super().__init__()
        self.normalized = normalized
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.teacher = Teacher(dim, shape)
        self.student = None if alone else Student(dim, shape)
        self.classifier = None if alone else Classifier(shape)

    def scaled(self, x: Tensor) -> Tensor:
        """Embeddings (B, dim) as the networks take them."""
        return (x - self.mean) * self.scale

    def discrepancy(self, scaled: Tensor) -> Tensor:
        """Eq. 4 of scaled features, (B, K); of directions, times K so that it is of order one, if ``normalized``."""
        zt, zs = self.teacher(scaled), self.student(scaled)
        if self.normalized:
            return discrepancy(normalize(zt, dim=1), normalize(zs, dim=1)) * zt.shape[1]
        return discrepancy(zt, zs)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, dim) to P(generated), (B,): Eq. 5, or the teacher's own opinion."""
        scaled = self.scaled(x)
        if self.student is None:
            return self.teacher.logits(scaled).softmax(dim=1)[:, 1]
        return self.classifier(self.discrepancy(scaled)).sigmoid()
