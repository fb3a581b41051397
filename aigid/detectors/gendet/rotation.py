"""The rotations: student on reals, student on augmented fakes, augmenter on fakes, an epoch each."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aigid.detectors.descent import adamw, epoch, generator, initialise
from aigid.detectors.gendet.augmenter import Augmenter
from aigid.detectors.gendet.losses import augmenter_loss, fake_loss, real_loss
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.gendet.student import Student
from aigid.detectors.gendet.teacher import Teacher


class Rotations:
    """Student and augmenter in training against a frozen teacher, on scaled features (N, dim) of reals and fakes."""

    def __init__(self, teacher: Teacher, reals: Tensor, fakes: Tensor, settings: GenDetSettings, seed: int) -> None:
        self.teacher, self.reals, self.fakes, self.settings = teacher.requires_grad_(False), reals, fakes, settings
        dim, device = reals.shape[1], reals.device
        self.student = new_student(dim, settings, seed).to(device)
        self.augmenter = new_augmenter(dim, settings, seed).to(device)
        rates = settings.learning_rate, settings.weight_decay
        student, augmenter = adamw(self.student, *rates), adamw(self.augmenter, *rates)
        separate = settings.optimizer_sharing == "separate"
        self._optimizers = {
            "reals": student,
            "fakes": adamw(self.student, *rates) if separate else student,
            "augmenter": augmenter,
        }
        self._draw = generator("gendet", "rotations", seed)
        with torch.no_grad():
            self._zt_reals = torch.cat([teacher(rows) for rows in reals.split(settings.batch_size)])

    def real_epoch(self) -> float:
        """Eq. 1: the student learns the teacher's outputs of reals."""
        return self._epoch("reals", self.student, len(self.reals), self.real_step)

    def fake_epoch(self) -> float:
        """Eq. 2 times alpha: the student turns away from the teacher on augmented fakes."""
        return self._epoch("fakes", self.student, len(self.fakes), self.fake_step, self.settings.alpha)

    def augmenter_epoch(self) -> float:
        """Eq. 3: the augmenter makes fakes on which the student does not turn away."""
        return self._epoch("augmenter", self.augmenter, len(self.fakes), self.augmenter_step)

    def real_step(self, rows: Tensor) -> Tensor:
        """Eq. 1 of these reals; the teacher's outputs, which never change, are kept from the start."""
        return real_loss(self._zt_reals[rows], self.student(self.reals[rows]), self.settings.reduction)

    def fake_step(self, rows: Tensor) -> Tensor:
        """Eq. 2 of these fakes, augmented."""
        with torch.no_grad():
            x = self.augmented(self.fakes[rows])
            zt = self.teacher(x)
        return fake_loss(zt, self.student(x), self.settings.margin)

    def augmenter_step(self, rows: Tensor) -> Tensor:
        """Eq. 3 of these fakes."""
        x = self.augmenter(self.fakes[rows])
        return augmenter_loss(self.teacher(x), self.student(x), self.settings.reduction)

    def augmented(self, x: Tensor) -> Tensor:
        """Fakes as the student meets them; unchanged where the mode has no augmenter."""
        return self.augmenter(x) if self.settings.mode == "full" else x

    def _epoch(
        self, stage: str, trained: nn.Module, num_rows: int, step: Callable[[Tensor], Tensor], weight: float = 1.0
    ) -> float:
        for network in (self.student, self.augmenter):
            network.requires_grad_(network is trained)
        batch, device = self.settings.batch_size, self.reals.device
        return epoch(self._optimizers[stage], step, num_rows, batch, self._draw, device, weight)


def new_student(dim: int, settings: GenDetSettings, seed: int) -> Student:
    """The student before its first step."""
    return initialise(Student(dim, settings.teacher), generator("gendet", "student", seed))


def new_augmenter(dim: int, settings: GenDetSettings, seed: int) -> Augmenter:
    """The augmenter before its first step: the identity, if it is residual."""
    draw = generator("gendet", "augmenter", seed)
    augmenter = initialise(Augmenter(dim, settings.teacher, settings.residual_augmenter), draw)
    if settings.residual_augmenter:
        for parameter in augmenter.out.parameters():
            nn.init.zeros_(parameter)
    return augmenter
