"""The feature augmenter G: fakes to fakes that are harder to tell."""

from torch import Tensor, nn

from aigid.detectors.gendet.settings import TeacherSettings
from aigid.detectors.gendet.student import Student


class Augmenter(nn.Module):
    """(B, dim) features to (B, dim) features; ``residual``: x + out(x), which starts as the identity."""

    def __init__(self, dim: int, shape: TeacherSettings, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.body = Student(dim, shape)
        self.out = nn.Linear(shape.num_tokens * shape.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, dim)."""
        change = self.out(self.body(x))
        return x + change if self.residual else change
