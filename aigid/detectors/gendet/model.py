"""The transformer block that every network of GenDet is made of."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

from aigid.detectors.gendet.losses import discrepancy
from aigid.detectors.gendet.settings import TeacherSettings


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
        """(B, n, width) to (B, n, width)."""
        tokens = tokens + self._attend(self.norm_attention(tokens))
        return tokens + self.down(gelu(self.up(self.norm_feed(tokens))))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, num, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, num, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, num, width))


# A feature vector as a few tokens.


class Tokenizer(nn.Module):
    """(B, dim) to (B, num_tokens, width): one linear map, cut into tokens; the bias of each is its learned place.

    The paper gives the width, 196, and no tokens; four of them make attention mean something.
    """

    def __init__(self, dim: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.shape = (num_tokens, width)
        self.linear = nn.Linear(dim, num_tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, num_tokens, width)."""
        return self.linear(x).view(-1, *self.shape)


# The student: the teacher's shape without its head.


class Student(nn.Module):
    """(B, dim) features to (B, num_tokens * width) outputs."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokeniser = Tokenizer(dim, shape.num_tokens, shape.width)
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, num_tokens * width)."""
        return self.block(self.tokeniser(x)).flatten(1)


# The teacher: a binary classifier whose outputs before its head are what the student is held against.


class Teacher(Student):
    """A student with a head of two logits, which pre-training and the ablation "teacher" use."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__(dim, shape)
        self.head = nn.Linear(shape.num_tokens * shape.width, 2)

    def logits(self, x: Tensor) -> Tensor:
        """(B, dim) to (B, 2): real, generated."""
        return self.head(self(x))


# The feature augmenter G: fakes to fakes that are harder to tell.


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


# N_c: from the discrepancy of teacher and student to a verdict (Eq. 5).


class Classifier(nn.Module):
    """(B, num_tokens * width) discrepancies to (B,) logits: a block over the tokens, their mean, one linear layer."""

    def __init__(self, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokens = (shape.num_tokens, shape.width)
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)
        self.out = nn.Linear(shape.width, 1)

    def forward(self, discrepancies: Tensor) -> Tensor:
        """(B, num_tokens * width) to (B,)."""
        return self.out(self.block(discrepancies.view(-1, *self.tokens)).mean(dim=1)).squeeze(1)


# A trained GenDet: what is needed to judge a feature, the augmenter left behind.


class GenDetModel(nn.Module):
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
