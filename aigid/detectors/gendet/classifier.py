"""N_c: from the discrepancy of teacher and student to a verdict (Eq. 5)."""

from torch import Tensor, nn

from aigid.detectors.gendet.block import Block
from aigid.detectors.gendet.settings import TeacherSettings


class Classifier(nn.Module):
    """(B, num_tokens * width) discrepancies to (B,) logits: a block over the tokens, their mean, one linear layer."""

    def __init__(self, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokens = (shape.num_tokens, shape.width)
        self.block = Block(shape.width, shape.heads, shape.expansion)
        self.out = nn.Linear(shape.width, 1)

    def forward(self, discrepancies: Tensor) -> Tensor:
        """(B, num_tokens * width) to (B,)."""
        return self.out(self.block(discrepancies.view(-1, *self.tokens)).mean(dim=1)).squeeze(1)
