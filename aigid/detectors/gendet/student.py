"""The student: the teacher's shape without its head."""

from torch import Tensor, nn

from aigid.detectors.gendet.block import Block
from aigid.detectors.gendet.settings import TeacherSettings
from aigid.detectors.gendet.tokeniser import Tokeniser


class Student(nn.Module):
    """(B, dim) features to (B, num_tokens * width) outputs."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokeniser = Tokeniser(dim, shape.num_tokens, shape.width)
        self.block = Block(shape.width, shape.heads, shape.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, num_tokens * width)."""
        return self.block(self.tokeniser(x)).flatten(1)
