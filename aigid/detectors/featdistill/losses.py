"""What holds a student to its teacher: the distance of dense tokens, or the contrast of embeddings."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

from aigid.detectors.featdistill.model import Expert, ExpertOutput
from aigid.detectors.featdistill.settings import QUEUE, OptimizerSettings, Stage2Settings
from aigid.training.task import full_precision

EPSILON = 1e-7


def distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Return Eq. 2: the mean squared difference of patch tokens (B, T, D), over tokens and channels, then layers."""
    layers = []
    for pair in zip(student, teacher, strict=True):
        with full_precision(*pair) as (mine, its):
            layers.append(functional.mse_loss(mine, its))
    return torch.stack(layers).mean()


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy of (B, 2)."""
    with full_precision(logits) as (logits,):
        return functional.cross_entropy(logits, y)


def ema_momentum(done: float, base: float, final: float) -> float:
    """Return the teacher's momentum (Section 5.1): a cosine from ``base`` to ``final`` as ``done`` goes from 0 to 1."""
    return final - (final - base) * (cos(pi * done) + 1) / 2


@torch.no_grad()
def ema_update(teacher: nn.Module, student: nn.Module, share: float) -> None:
    """Move the teacher towards the student; it keeps ``share`` of itself. Buffers are copied."""
    for mine, its in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(its.to(mine), 1 - share)
    for buffer, its_buffer in zip(teacher.buffers(), student.buffers(), strict=True):
        buffer.copy_(its_buffer)


class Projection(nn.Module):
    """(B, D) to (B, width) of unit length."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, width)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project and normalise."""
        with full_precision(embedding) as (embedding,):
            return functional.normalize(self.linear(embedding), dim=1)


class ContrastiveQueue(nn.Module):
    """Contrastive representation distillation (Tian et al., ICLR 2020) with a queue of the teacher's embeddings.

    Noise-contrastive: is a pair of embeddings of one image, or of two? Where CRD keeps an embedding for each training
    image, the queue keeps the teacher's last ``size`` (MoCo), which are the negatives. As in CRD's code the normaliser
    of exp(s t / temperature) is estimated once, at the first batch, and the noise is uniform over the images.
    """

    queue: Tensor
    oldest: Tensor
    normaliser: Tensor

    def __init__(self, size: int, width: int, temperature: float, num_images: int) -> None:
        super().__init__()
        self.temperature, self.num_images = temperature, num_images
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("queue", functional.normalize(torch.randn(size, width, generator=generator), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        self.register_buffer("normaliser", torch.zeros(()))
        self._latest: tuple[Tensor, Tensor] | None = None  # the teacher's embeddings of a step, and its normaliser

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean loss of a step's (B, width), which ``remember`` then puts into the queue."""
        with full_precision(student, teacher.detach(), self.queue) as (student, teacher, negatives):
            candidates = torch.cat([(student * teacher).sum(dim=1, keepdim=True), student @ negatives.T], dim=1)
            likeness = torch.exp(candidates / self.temperature)
            first = likeness.detach().mean() * self.num_images
            normaliser = torch.where(self.normaliser > 0, self.normaliser, first)
            self._latest = teacher, normaliser
            likeness = likeness / normaliser
            noise = self.queue.shape[0] / self.num_images
            pair = likeness[:, 0] / (likeness[:, 0] + noise + EPSILON)
            others = noise / (likeness[:, 1:] + noise + EPSILON)
            return -(pair.log() + others.log().sum(dim=1)).mean()

    @torch.no_grad()
    def remember(self) -> None:
        """Put the teacher's embeddings of the step in the place of the oldest."""
        assert self._latest is not None, "no step has been computed"
        teacher, normaliser = self._latest
        self.normaliser.copy_(normaliser)
        size = self.queue.shape[0]
        teacher = teacher[-size:]
        indices = (self.oldest + torch.arange(len(teacher), device=teacher.device)) % size
        self.queue[indices] = teacher.to(self.queue)
        self.oldest.copy_((self.oldest + len(teacher)) % size)


@dataclass(frozen=True)
class Distiller:
    """What is trained (``net``), its teacher, and what is compared.

    ``features`` gives the student's and the teacher's, (B, ...) each, of the student's answer and the teacher's pixels;
    ``term`` is the loss of these, of the ``whole_step`` at once or a mean over images. ``after_step`` gets the share of
    all steps that are done; ``extra_state`` is the teacher's part of a checkpoint.
    """

    net: nn.Module
    teacher: Expert | None = None
    layers: tuple[int, ...] = ()
    features: Callable[[ExpertOutput, Tensor], tuple[Tensor, ...]] = lambda answer, pixels: ()
    term: Callable[[Sequence[Tensor]], Tensor] = lambda features: torch.zeros(())
    whole_step: bool = False
    after_step: Callable[[float], None] = lambda done: None
    extra_state: Mapping[str, nn.Module] = field(default_factory=dict)


def build_distiller(expert: Expert, descent: OptimizerSettings, num_images: int) -> Distiller:
    """Return the distiller of a stage; the expert as it is now is the teacher."""
    if not isinstance(descent, Stage2Settings) or descent.mode == "none":
        return Distiller(expert)
    teacher = copy.deepcopy(expert).requires_grad_(False).eval()
    return (_l2_distiller if descent.mode == "l2" else _contrastive_distiller)(expert, teacher, descent, num_images)


def _l2_distiller(expert: Expert, teacher: Expert, settings: Stage2Settings, _: int) -> Distiller:
    num = len(settings.layers)

    def features(answer: ExpertOutput, pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return *answer.tokens, *teacher.answer(pixels, settings.layers).tokens

    def term(features: Sequence[Tensor]) -> Tensor:
        return settings.distill_weight * distance(features[:num], features[num:])

    return Distiller(expert, teacher, settings.layers, features, term)


def _contrastive_distiller(expert: Expert, teacher: Expert, settings: Stage2Settings, num_images: int) -> Distiller:
    kind = next(expert.parameters())  # of device and type
    mine = Projection(expert.width, settings.width).to(kind)
    its = copy.deepcopy(mine).requires_grad_(False)
    size = settings.queue or min(QUEUE, num_images)
    contrast = ContrastiveQueue(size, settings.width, settings.temperature, num_images).to(kind)

    def features(answer: ExpertOutput, pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            target = its(teacher.vision_encoder(pixels))
        return mine(answer.embedding), target

    def term(features: Sequence[Tensor]) -> Tensor:
        loss: Tensor = contrast(*features)
        return settings.contrastive_weight * loss

    def after_step(done: float) -> None:
        contrast.remember()
        share = ema_momentum(done, *settings.momentum)
        ema_update(teacher, expert, share)
        ema_update(its, mine, share)

    net = nn.ModuleDict({"expert": expert, "projection": mine})
    extra_state = {"teacher": teacher, "teacher_projection": its, "contrast": contrast}
    return Distiller(net, teacher, (), features, term, True, after_step, extra_state)
