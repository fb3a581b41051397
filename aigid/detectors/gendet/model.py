"""GenDet's networks."""

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
        tokens = tokens + self._self_attention(self.norm_attention(tokens))
        return tokens + self.down(gelu(self.up(self.norm_feed(tokens))))

    def _self_attention(self, tokens: Tensor) -> Tensor:
        batch, num, width = tokens.shape
        query, key, value = self.qkv(tokens).view(batch, num, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, num, width))


class Tokenizer(nn.Module):
    """(B, dim) to (B, num_tokens, width): one linear map, cut into tokens; the bias is their position embedding.

    The paper gives the width, 196, and no tokens; four of them make attention mean something.
    """

    def __init__(self, dim: int, num_tokens: int, width: int) -> None:
        super().__init__()
        self.shape = (num_tokens, width)
        self.linear = nn.Linear(dim, num_tokens * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(-1, *self.shape)


class Student(nn.Module):
    """(B, dim) features to (B, num_tokens * width) outputs: the teacher without its head."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokeniser = Tokenizer(dim, shape.num_tokens, shape.width)  # spelled so in the weights files
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.tokeniser(x)).flatten(1)


class Teacher(Student):
    """A student with a head of two logits, real and generated, for pre-training and the ablation "teacher"."""

    def __init__(self, dim: int, shape: TeacherSettings) -> None:
        super().__init__(dim, shape)
        self.head = nn.Linear(shape.num_tokens * shape.width, 2)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (B, 2) of features (B, dim)."""
        return self.head(self(x))


class Augmenter(nn.Module):
    """G, features (B, dim) of fakes to those of harder fakes; ``residual``: x + out(x), at first the identity."""

    def __init__(self, dim: int, shape: TeacherSettings, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.body = Student(dim, shape)
        self.out = nn.Linear(shape.num_tokens * shape.width, dim)

    def forward(self, x: Tensor) -> Tensor:
        change = self.out(self.body(x))
        return x + change if self.residual else change


class Classifier(nn.Module):
    """N_c of Eq. 5, discrepancies (B, num_tokens * width) to logits (B,): a block, the mean of its tokens, a map."""

    def __init__(self, shape: TeacherSettings) -> None:
        super().__init__()
        self.tokens = (shape.num_tokens, shape.width)
        self.block = TransformerBlock(shape.width, shape.heads, shape.expansion)
        self.out = nn.Linear(shape.width, 1)

    def forward(self, discrepancies: Tensor) -> Tensor:
        return self.out(self.block(discrepancies.view(-1, *self.tokens)).mean(dim=1)).squeeze(1)


class GenDetModel(nn.Module):
    """Scaling, teacher and, unless ``teacher_only``, student and classifier; the augmenter is only for training."""

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
        zt, zs = self.teacher(x), self.student(x)
        if self.normalize_discrepancy:
            return discrepancy(normalize(zt, dim=1), normalize(zs, dim=1)) * zt.shape[1]
        return discrepancy(zt, zs)

    def forward(self, x: Tensor) -> Tensor:
        """Return P(generated) (B,) of embeddings (B, dim): Eq. 5, or the teacher's softmax."""
        x = self.standardize(x)
        if self.classifier is None:
            return self.teacher.logits(x).softmax(dim=1)[:, 1]
        return self.classifier(self.output_difference(x)).sigmoid()
