"""The teacher: a binary classifier whose outputs before its head are what the student is held against."""

from torch import Tensor, nn

from aigid.detectors.gendet.settings import TeacherSettings
from aigid.detectors.gendet.student import Student


class Teacher(Student):
    """A student with a head of two logits, which pre-training and the ablation "teacher" use."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__(dim, shape)
        self.head = nn.Linear(shape.num_tokens * shape.width, 2)

    def logits(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, 2): real, generated."""
        return self.head(self(x))
