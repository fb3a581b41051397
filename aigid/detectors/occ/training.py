"""Learn the contexts of OCC-CLIP's prompts by gradient descent (CoOp: Zhou et al., IJCV 2022)."""

from collections.abc import Sequence
from math import cos, pi
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from aigid.base.errors import InputError
from aigid.detectors import descent
from aigid.detectors.occ.settings import OccSettings


class Tower(Protocol):
    """The text side of a CLIP: ``dim`` numbers a text, logits are ``scale`` times a cosine."""

    dim: int
    scale: float
    context_length: int

    def embed(self, words: Sequence[str]) -> list[Tensor]:
        """The token embeddings (n, W) of start, then of every word, then of the full stop and the end."""

    def encode(self, prompts: Tensor, ends: Sequence[int]) -> Tensor:
        """Prompts (P, L, W) whose end stands at ``ends`` (P,) to texts (P, D) of length 1."""


def learn(settings: OccSettings, x: np.ndarray, y: np.ndarray, tower: Tower, seed: int) -> np.ndarray:
    """Texts (K - 1, 2, D) float32, photograph and fake of each generator.

    ``x`` (N, D) float32 rows of length 1, ``y`` (N,) their classes, 0 being photographs. The classifiers are
    independent and descend side by side; the smaller ones go through their rows more often.
    """
    rows, labels = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y)
    draw = descent.generator("occ", seed)
    prompts = Prompts(settings, tower, int(y.max()), draw)
    start, decay = settings.warmup_learning_rate, settings.weight_decay
    sgd = torch.optim.SGD(prompts.parameters(), start, settings.momentum, weight_decay=decay)
    own = [torch.nonzero((labels == 0) | (labels == k)).ravel() for k in range(1, int(y.max()) + 1)]
    size = settings.batch_size
    steps = max(-(-max(map(len, own)) // size), 1)
    for epoch in range(settings.epochs):
        for group in sgd.param_groups:
            group["lr"] = rate(settings, epoch)
        orders = [places[torch.randperm(len(places), generator=draw)] for places in own]
        for step in range(steps):
            taken = torch.stack([order[torch.arange(step * size, (step + 1) * size) % len(order)] for order in orders])
            sgd.zero_grad()
            loss_of(prompts(), rows[taken], (labels[taken] > 0).float(), tower.scale, settings.epsilon, draw).backward()
            sgd.step()
    with torch.no_grad():
        return prompts().numpy()


def rate(settings: OccSettings, epoch: int) -> float:
    """One epoch of warming up, then a cosine."""
    if epoch == 0:
        return settings.warmup_learning_rate
    return settings.learning_rate * (1 + cos(pi * min(epoch / settings.cosine_decay, 1))) / 2


def loss_of(texts: Tensor, x: Tensor, y: Tensor, scale: float, epsilon: float, draw: torch.Generator) -> Tensor:
    """The sum over classifiers of their mean cross-entropy on rows (K, B, D) with labels (K, B), 1 being fake.

    Half of the photographs are first pushed towards fake by the sign of the gradient (FGSM). The published code does
    this to pixels; here, where embeddings are cached, to the embedding: each number moves by epsilon / sqrt(D), the
    whole by ``epsilon``. The gradient's sign is that of the difference of the two texts, since P(fake) exceeds 0.
    """
    difference = texts[:, 1] - texts[:, 0]
    pushed = (torch.rand(y.shape, generator=draw) < 0.5) & (y == 0)
    move = difference.detach().sign() * epsilon / x.shape[2] ** 0.5
    x = functional.normalize(x + pushed[..., None] * move[:, None], dim=2)
    logits = scale * torch.einsum("kbd,kd->kb", x, difference)
    return functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(dim=1).sum()


class Prompts(nn.Module):
    """Two prompts for each of K classifiers: start, what is learnt, a name, full stop, end."""

    def __init__(self, settings: OccSettings, tower: Tower, num: int, draw: torch.Generator) -> None:
        super().__init__()
        self.tower, self.num = tower, num
        self.start, *self.words, self.end = tower.embed(settings.class_names)
        length = 1 + settings.n_ctx + max(map(len, self.words)) + len(self.end)
        if length > tower.context_length:
            most = tower.context_length
            raise InputError(f"occ.n_ctx={settings.n_ctx}: prompts of {length} tokens, and the tower reads {most}")
        shape = (num, 1 if settings.shared_context else 2, settings.n_ctx, self.start.shape[1])
        self.context = nn.Parameter(0.02 * torch.randn(shape, generator=draw))

    def forward(self) -> Tensor:
        """Texts (K, 2, D)."""
        rows, ends = [], []
        for contexts in self.context.expand(-1, 2, -1, -1):
            for context, word in zip(contexts, self.words, strict=True):
                prompt = torch.cat([self.start, context, word, self.end])
                ends.append(len(prompt) - 1)
                rows.append(functional.pad(prompt, (0, 0, 0, self.tower.context_length - len(prompt))))
        return self.tower.encode(torch.stack(rows), ends).view(self.num, 2, -1)
