"""What holds a student to its teacher: the distance of dense tokens, or the contrast of embeddings."""

from collections.abc import Sequence
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-7


def distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Eq. 2 as a mean: the squared difference of patch tokens (B, T, D), over tokens and channels, then over layers."""
    layers = [functional.mse_loss(mine.float(), its.float()) for mine, its in zip(student, teacher, strict=True)]
    return torch.stack(layers).mean()


def momentum(done: float, base: float, most: float) -> float:
    """The moving teacher's (Section 5.1): from ``base`` to ``most`` as ``done`` goes from 0 to 1, along a cosine."""
    return most - (most - base) * (cos(pi * done) + 1) / 2


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, share: float) -> None:
    """Move the teacher towards the student; it keeps ``share`` of itself. Buffers are copied."""
    for mine, its in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(its.to(mine), 1 - share)
    for mine, its in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(its)


class Projection(nn.Module):
    """(B, D) to (B, width) of unit length."""

    def __init__(self, num_inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_inputs, width)

    def forward(self, embedding: Tensor) -> Tensor:
        """Project and normalise, in float32."""
        return functional.normalize(self.linear(embedding).float(), dim=1)


class Contrast(nn.Module):
    """Contrastive representation distillation (Tian et al., ICLR 2020) with a queue of the teacher's embeddings.

    Noise-contrastive: is a pair of embeddings of one image, or of two? Where CRD keeps an embedding for each training
    image, the queue keeps the teacher's last ``size`` (MoCo), which are the negatives. As in CRD's code the normaliser
    of exp(s t / temperature) is estimated once, at the first batch, and the noise is uniform over the images.
    """

    def __init__(self, size: int, width: int, temperature: float, num_images: int) -> None:
        super().__init__()
        self.temperature, self.num_images = temperature, num_images
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("queue", functional.normalize(torch.randn(size, width, generator=generator), dim=1))
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))
        self.register_buffer("normaliser", torch.zeros(()))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of a batch (B, width), a mean over its images; the teacher's go into the queue by ``remember``."""
        negatives = self.queue.clone()  # as it is now: what is remembered before the way back must not change it
        candidates = torch.cat([(student * teacher).sum(dim=1, keepdim=True), student @ negatives.T], dim=1)
        likeness = torch.exp(candidates / self.temperature)
        if not self.normaliser:
            self.normaliser.copy_(likeness.detach().mean() * self.num_images)
        likeness = likeness / self.normaliser
        noise = self.queue.shape[0] / self.num_images
        pair = likeness[:, 0] / (likeness[:, 0] + noise + EPSILON)
        others = noise / (likeness[:, 1:] + noise + EPSILON)
        return -(pair.log() + others.log().sum(dim=1)).mean()

    @torch.no_grad()
    def remember(self, teacher: Tensor) -> None:
        """Put the teacher's embeddings in the place of the oldest."""
        size = self.queue.shape[0]
        teacher = teacher[-size:]
        places = (self.oldest + torch.arange(len(teacher), device=teacher.device)) % size
        self.queue[places] = teacher.to(self.queue)
        self.oldest.copy_((self.oldest + len(teacher)) % size)
