"""OCC-CLIP: prompts learned by gradient descent (CoOp: Zhou et al., IJCV 2022), two a generator.

``prompts: embedding`` is its kin for encoders without a text side: the same loss and classifiers, not OCC-CLIP itself.
"""

from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import save_file
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from aigid.core.bundle_files import read_arrays
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name
from aigid.core.params import Settings
from aigid.detectors.protocol import EmbeddingDetector
from aigid.detectors.samples import (
    Floats,
    Ints,
    LabeledEmbeddings,
    Samples,
    class_names,
    encode_labels,
    mean_and_std,
    require_finite,
    unit_rows,
)
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.training import prior, tabular

if TYPE_CHECKING:
    from aigid.features.loaders.open_clip import TextEncoder

FILE = "arrays.safetensors"
SCALE = 100.0  # of cosines, where no text encoder has its own; CLIP's


class OccSettings(Settings):
    """NYCU's values are the defaults."""

    backbone: str
    # text_encoder: contexts that the text encoder of an open_clip backbone embeds, which is OCC-CLIP; embedding: each
    # prompt is itself a vector of the embedding space, for encoders without a text side.
    prompts: Literal["text_encoder", "embedding"] = "text_encoder"
    dataset: str
    scaling: Literal["unit", "standard"] = "unit"  # rows to length 1, or columns to deviation 1 before that
    n_ctx: Annotated[int, Field(ge=1)] = 32  # learned tokens, where there is a text encoder; so are the next two
    shared_context: bool = True  # a classifier's two prompts have one context; else one each
    class_names: tuple[str, str] = ("real", "fake")
    epochs: Annotated[int, Field(ge=1)] = 120
    batch_size: Annotated[int, Field(ge=2)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup_learning_rate: Annotated[float, Field(gt=0)] = 1e-5  # the first epoch's rate
    cosine_decay: Annotated[int, Field(ge=1)] = 200  # epochs after which the rate would be 0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    epsilon: Annotated[float, Field(ge=0)] = 0.1  # how far half of the real images' embeddings are pushed


def learn_prompts(
    settings: OccSettings, x: Floats, y: Ints, encoder: "TextEncoder | None", seed: int
) -> tuple[Floats, pd.DataFrame]:
    """Return texts (K - 1, 2, D) float32, real and fake of each generator; vectors of the space without an encoder.

    ``x`` (N, D) float32 rows of length 1, ``y`` (N,) their classes, 0 being real. The classifiers are independent and
    descend in parallel; the smaller ones go through their rows more often.
    """
    generator = tabular.torch_generator("occ", seed)
    num, scale = int(y.max()), encoder.scale if encoder else SCALE
    prompts = Prompts(settings, encoder, num, generator) if encoder else PromptEmbeddings(num, x.shape[1], generator)
    device = encoder.device if encoder else choose_device(device_name())
    prompts, labels = prompts.to(device), torch.from_numpy(y)
    rows = torch.from_numpy(np.ascontiguousarray(x, np.float32)).to(device)
    sgd = torch.optim.SGD(prompts.parameters(), momentum=settings.momentum, weight_decay=settings.weight_decay)
    members = [torch.nonzero((labels == 0) | (labels == k)).ravel() for k in range(1, num + 1)]
    size = settings.batch_size
    steps = max(-(-max(map(len, members)) // size), 1)
    losses = []
    for epoch in range(settings.epochs):
        total = 0.0
        for group in sgd.param_groups:
            group["lr"] = learning_rate_at(settings, epoch)
        orders = [rows_of[torch.randperm(len(rows_of), generator=generator)] for rows_of in members]
        for step in range(steps):
            batch = torch.stack([order[torch.arange(step * size, (step + 1) * size) % len(order)] for order in orders])
            sgd.zero_grad()
            targets = (labels[batch] > 0).float().to(device)
            value = loss(prompts(), rows[batch.to(device)], targets, scale, settings.epsilon, generator)
            torch.autograd.backward(value)
            sgd.step()
            total += float(value.detach())
        losses.append(total / steps)
    with torch.no_grad():
        texts: Floats = prompts().cpu().numpy()
    return texts, prior.table(losses, sum(prior.prior_loss(labels[rows_of]) for rows_of in members))


def learning_rate_at(settings: OccSettings, epoch: int) -> float:
    """Return the rate of an epoch: one of warm-up, then a cosine."""
    if epoch == 0:
        return settings.warmup_learning_rate
    return settings.learning_rate * (1 + cos(pi * min(epoch / settings.cosine_decay, 1))) / 2


def loss(texts: Tensor, x: Tensor, y: Tensor, scale: float, epsilon: float, generator: torch.Generator) -> Tensor:
    """Return the sum over classifiers of their mean cross-entropy on rows (K, B, D) with labels (K, B), 1 being fake.

    Half of the real images are first pushed towards fake by the sign of the gradient (FGSM). The published code does
    this to pixels; here, where embeddings are cached, to the embedding, whose numbers each move by
    epsilon / sqrt(D). The gradient's sign is that of the difference of the two texts, since P(fake) exceeds 0.
    """
    difference = texts[:, 1] - texts[:, 0]
    pushed = (torch.rand(y.shape, generator=generator).to(y.device) < 0.5) & (y == 0)
    move = difference.detach().sign() * epsilon / x.shape[2] ** 0.5
    x = functional.normalize(x + pushed[..., None] * move[:, None], dim=2)
    logits = scale * torch.einsum("kbd,kd->kb", x, difference)
    return functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(dim=1).sum()


class Prompts(nn.Module):
    """Two prompts for each of K classifiers: start, learned tokens, a name, full stop, end; to texts (K, 2, D)."""

    def __init__(self, settings: OccSettings, encoder: "TextEncoder", num: int, generator: torch.Generator) -> None:
        super().__init__()
        self.encoder, self.num = encoder, num
        self.start, *self.words, self.end = encoder.embed(settings.class_names)
        length = 1 + settings.n_ctx + max(map(len, self.words)) + len(self.end)
        if length > (limit := encoder.context_length):
            prompts = f"prompts of {length} tokens, and the text encoder reads {limit}"
            raise InputError(f"occ.n_ctx={settings.n_ctx}: {prompts}")
        shape = (num, 1 if settings.shared_context else 2, settings.n_ctx, self.start.shape[1])
        self.context = nn.Parameter(0.02 * torch.randn(shape, generator=generator))

    def forward(self) -> Tensor:  # no position behind the end is read, as CLIP's texts attend backwards alone
        rows = [
            torch.cat([self.start, context, word, self.end])
            for contexts in self.context.expand(-1, 2, -1, -1)
            for context, word in zip(contexts, self.words, strict=True)
        ]
        prompts, eot_positions = pad_sequence(rows, batch_first=True), [len(row) - 1 for row in rows]
        return self.encoder.encode(prompts, eot_positions).view(self.num, 2, -1)


class PromptEmbeddings(nn.Module):
    """Two vectors of the embedding space for each of K classifiers, (K, 2, D) of length 1.

    Both start in one random direction, so that training starts at P(fake) = 1/2.
    """

    def __init__(self, num: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        start = functional.normalize(torch.randn((num, 1, dim), generator=generator), dim=2)
        self.vectors = nn.Parameter(start.repeat(1, 2, 1))

    def forward(self) -> Tensor:
        return functional.normalize(self.vectors, dim=2)


class OccClip(EmbeddingDetector):
    """One classifier a generator against real images; together they name the generator.

    The published rule takes the generator with the largest P(fake) if that exceeds 1/2, else real. So does the largest
    of the softmax over 0 (real) and each classifier's log-odds of fake, which also gives probabilities. ``arrays``:
    ``texts`` (K - 1, 2, D) of real and fake, ``scale`` (1,) and, if scaled, ``mean`` and ``inverse`` (D,).
    """

    Settings = OccSettings

    def __init__(self, arrays: dict[str, NDArray[Any]], classes: list[str]) -> None:
        self.arrays, self.classes = arrays, classes

    @classmethod
    def fit(
        cls,
        settings: OccSettings,
        train: LabeledEmbeddings,
        val: LabeledEmbeddings,
        seed: int,
        text_encoder: "TextEncoder | None" = None,
    ) -> Self:
        """Learn the prompts of all classifiers on train; val is unused. The text encoder is that of the same CLIP."""
        encoder = None
        if settings.prompts == "text_encoder":
            encoder = text_encoder or _open_text_encoder(train.origin, settings.backbone)
        classes = class_names(train.generators, "train")
        require_finite(train, "train")
        if encoder and train.x.shape[1] != encoder.dim:
            raise InputError(f"occ.backbone: its texts have {encoder.dim} numbers, its images {train.x.shape[1]}")

        arrays = {}
        if settings.scaling == "standard":
            mean, std = mean_and_std(train.x)
            arrays = {"mean": mean.astype(np.float32), "inverse": (1 / std).astype(np.float32)}
        y = encode_labels(train.generators, classes, "train")
        texts, log = learn_prompts(settings, _prepare(train.x, arrays), y, encoder, seed)
        scale = encoder.scale if encoder else SCALE
        fitted = cls(arrays | {"texts": texts, "scale": np.array([scale])}, classes)
        fitted.logs = {"prompts": log}
        return fitted

    def log_odds(self, embeddings: Floats) -> Floats:
        """Return the log-odds (N, K - 1) float64 of each generator against real images."""
        difference = (self.arrays["texts"][:, 1] - self.arrays["texts"][:, 0]).astype(np.float64)
        cosines = np.matmul(_prepare(embeddings, self.arrays), difference.T)
        return np.asarray(self.arrays["scale"][0] * cosines)

    def predict_proba(self, embeddings: Floats) -> Floats:
        odds = self.log_odds(embeddings)
        return np.asarray(softmax(np.hstack([np.zeros((len(odds), 1)), odds]), axis=1))

    def save(self, folder: Path) -> dict[str, Any]:
        save_file({name: np.ascontiguousarray(value) for name, value in self.arrays.items()}, folder / FILE)
        return {"classes": self.classes}

    @classmethod
    def load(cls, folder: Path, state: dict[str, Any]) -> Self:
        shapes = f"texts({len(state['classes']) - 1},2,D) scale(1)"
        return cls(read_arrays(folder / FILE, shapes, "mean(D) inverse(D)"), state["classes"])


Detector = OccClip


def _open_text_encoder(train: Samples | None, name: str) -> "TextEncoder":
    """Return the text encoder of the CLIP that computed the embeddings."""
    from aigid.features.loaders.open_clip import load_text_encoder

    assert train is not None, "embeddings without a file need a text encoder"
    if len(backbones := train.backbones) != 1:
        path = train.embedding_paths[0]
        raise InputError(f"occ.backbone: {len(backbones)} backbones in {path}, want one of open_clip")
    settings_class = ConcatSettings if backbones[0]["library"] == "joint" else BackboneSettings
    return load_text_encoder(settings_class(**backbones[0]), name)


def _prepare(x: Floats, arrays: dict[str, NDArray[Any]]) -> Floats:
    """Return rows (N, D) of length 1, their columns standardized before if so chosen."""
    if "mean" in arrays:
        x = (x - arrays["mean"]) * arrays["inverse"]
    return unit_rows(x)
