"""Every number of OCC-CLIP."""

from collections.abc import Sequence
from math import cos, pi
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
import torch
from pydantic import Field
from safetensors.numpy import load_file, save_file
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import LabeledEmbeddings, Samples, class_names, encode_labels, mean_and_std, require_finite
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.training import tabular


class OccSettings(Settings):
    """NYCU's values are the defaults."""

    backbone: str  # an open_clip backbone: its text tower is asked
    dataset: str
    scaling: Literal["unit", "standard"] = "unit"  # rows to length 1, or columns to deviation 1 before that
    n_ctx: Annotated[int, Field(ge=1)] = 32  # tokens that are learnt
    shared_context: bool = True  # a classifier's two prompts have one context; else each its own
    class_names: tuple[str, str] = ("real", "fake")
    epochs: Annotated[int, Field(ge=1)] = 120
    batch_size: Annotated[int, Field(ge=2)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup_learning_rate: Annotated[float, Field(gt=0)] = 1e-5  # the first epoch's rate
    cosine_decay: Annotated[int, Field(ge=1)] = 200  # epochs after which the rate would be 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    epsilon: Annotated[float, Field(ge=0)] = 0.1  # how far half of the photographs' embeddings are pushed


# Learn the contexts of OCC-CLIP's prompts by gradient descent (CoOp: Zhou et al., IJCV 2022).


class TextEncoder(Protocol):
    """The text side of a CLIP: ``dim`` numbers a text, logits are ``scale`` times a cosine."""

    dim: int
    scale: float
    context_length: int

    def embed(self, words: Sequence[str]) -> list[Tensor]:
        """The token embeddings (n, W) of start, then of every word, then of the full stop and the end."""

    def encode(self, prompts: Tensor, ends: Sequence[int]) -> Tensor:
        """Prompts (P, L, W) whose end stands at ``ends`` (P,) to texts (P, D) of length 1."""


def learn_prompts(settings: OccSettings, x: np.ndarray, y: np.ndarray, tower: TextEncoder, seed: int) -> np.ndarray:
    """Texts (K - 1, 2, D) float32, photograph and fake of each generator.

    ``x`` (N, D) float32 rows of length 1, ``y`` (N,) their classes, 0 being photographs. The classifiers are
    independent and descend side by side; the smaller ones go through their rows more often.
    """
    rows, labels = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y)
    draw = tabular.torch_generator("occ", seed)
    prompts = Prompts(settings, tower, int(y.max()), draw)
    start, decay = settings.warmup_learning_rate, settings.weight_decay
    sgd = torch.optim.SGD(prompts.parameters(), start, settings.momentum, weight_decay=decay)
    own = [torch.nonzero((labels == 0) | (labels == k)).ravel() for k in range(1, int(y.max()) + 1)]
    size = settings.batch_size
    steps = max(-(-max(map(len, own)) // size), 1)
    for epoch in range(settings.epochs):
        for group in sgd.param_groups:
            group["lr"] = learning_rate_at(settings, epoch)
        orders = [places[torch.randperm(len(places), generator=draw)] for places in own]
        for step in range(steps):
            taken = torch.stack([order[torch.arange(step * size, (step + 1) * size) % len(order)] for order in orders])
            sgd.zero_grad()
            loss(prompts(), rows[taken], (labels[taken] > 0).float(), tower.scale, settings.epsilon, draw).backward()
            sgd.step()
    with torch.no_grad():
        return prompts().numpy()


def learning_rate_at(settings: OccSettings, epoch: int) -> float:
    """One epoch of warming up, then a cosine."""
    if epoch == 0:
        return settings.warmup_learning_rate
    return settings.learning_rate * (1 + cos(pi * min(epoch / settings.cosine_decay, 1))) / 2


def loss(texts: Tensor, x: Tensor, y: Tensor, scale: float, epsilon: float, draw: torch.Generator) -> Tensor:
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

    def __init__(self, settings: OccSettings, tower: TextEncoder, num: int, draw: torch.Generator) -> None:
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


# The fitted detector: two texts a generator, which no longer need the tower that made them.

FILE = "arrays.safetensors"


class OccClip(EmbeddingDetector):
    """One classifier a generator against photographs; together they name the generator.

    The published rule takes the generator with the largest P(fake) if that exceeds 1/2, else photograph. It is what
    the largest of the softmax over 0 (photograph) and each classifier's log-odds of fake says, and that also gives
    probabilities.
    """

    Settings = OccSettings

    def __init__(self, arrays: dict[str, np.ndarray], classes: list[str]) -> None:
        self.arrays, self.classes = arrays, classes  # texts (K - 1, 2, D) real and fake, scale (1,), mean and inverse

    @classmethod
    def fit(
        cls,
        settings: OccSettings,
        train: LabeledEmbeddings,
        val: LabeledEmbeddings,
        seed: int,
        tower: "TextEncoder | None" = None,
    ) -> Self:
        """Learn the contexts of all classifiers on train by the text tower of the same CLIP; val is not needed."""
        tower = tower or _tower_of(train.origin, settings.backbone)
        classes = class_names(train.generators, "train")
        require_finite(train, "train")
        if train.x.shape[1] != tower.dim:
            raise InputError(f"occ.backbone: its texts have {tower.dim} numbers, its images {train.x.shape[1]}")

        arrays = {}
        if settings.scaling == "standard":
            mean, std = mean_and_std(train.x)
            arrays = {"mean": mean.astype(np.float32), "inverse": (1 / std).astype(np.float32)}
        y = encode_labels(train.generators, classes, "train")
        texts = learn_prompts(settings, _prepare(train.x, arrays), y, tower, seed)
        return cls(arrays | {"texts": texts, "scale": np.array([tower.scale])}, classes)

    def odds(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to the log-odds (N, K - 1) float64 of each generator against photographs."""
        difference = (self.arrays["texts"][:, 1] - self.arrays["texts"][:, 0]).astype(np.float64)
        return self.arrays["scale"][0] * (_prepare(embeddings, self.arrays) @ difference.T)

    def predict_proba(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N, K) float64."""
        odds = self.odds(embeddings)
        return softmax(np.hstack([np.zeros((len(odds), 1)), odds]), axis=1)

    def p_generated(self, embeddings: np.ndarray) -> np.ndarray:
        """(N, D) to (N,) float64: P(generated)."""
        return 1 - self.predict_proba(embeddings)[:, 0]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write ``arrays.safetensors``."""
        save_file({name: np.ascontiguousarray(value) for name, value in self.arrays.items()}, folder / FILE)
        return {"classes": self.classes}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> Self:
        """What ``save`` wrote."""
        return cls(load_file(folder / FILE), facts["classes"])


Detector = OccClip


def _tower_of(train: Samples, name: str) -> "TextEncoder":
    """Return the text tower of the CLIP that made the embeddings."""
    from aigid.features.text import load

    made = train.backbones
    if len(made) != 1:
        raise InputError(f"occ.backbone: {len(made)} backbones in {train.embedding_paths[0]}, want one of open_clip")
    kind = ConcatSettings if made[0]["library"] == "joint" else BackboneSettings
    return load(kind(**made[0]), name)


def _prepare(x: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N, D) rows of length 1."""
    if "mean" in arrays:
        x = (x - arrays["mean"]) * arrays["inverse"]
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
