"""The rotations: student on reals, student on augmented fakes, augmenter on fakes, an epoch each."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from aigid.detectors.gendet.losses import augmenter_loss, fake_loss, real_loss, squared_cosine_distance
from aigid.detectors.gendet.model import Augmenter, GenDetModel, Student, Teacher
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.samples import LabeledEmbeddings, mean_and_std
from aigid.training.tabular import adamw, reset_parameters, torch_generator, train_epoch


class AlternatingTraining:
    """Student and augmenter in training against a frozen teacher, on scaled features (N, dim) of reals and fakes."""

    def __init__(self, teacher: Teacher, reals: Tensor, fakes: Tensor, settings: GenDetSettings, seed: int) -> None:
        self.teacher, self.reals, self.fakes, self.settings = teacher.requires_grad_(False), reals, fakes, settings
        dim, device = reals.shape[1], reals.device
        self.student = build_student(dim, settings, seed).to(device)
        self.augmenter = new_augmenter(dim, settings, seed).to(device)
        rates = settings.learning_rate, settings.weight_decay
        student, augmenter = adamw(self.student, *rates), adamw(self.augmenter, *rates)
        separate = settings.optimizer_sharing == "separate"
        self._optimizers = {
            "reals": student,
            "fakes": adamw(self.student, *rates) if separate else student,
            "augmenter": augmenter,
        }
        self._draw = torch_generator("gendet", "rotations", seed)
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
        return train_epoch(self._optimizers[stage], step, num_rows, batch, self._draw, device, weight)


def build_student(dim: int, settings: GenDetSettings, seed: int) -> Student:
    """The student before its first step."""
    return reset_parameters(Student(dim, settings.teacher), torch_generator("gendet", "student", seed))


def new_augmenter(dim: int, settings: GenDetSettings, seed: int) -> Augmenter:
    """The augmenter before its first step: the identity, if it is residual."""
    draw = torch_generator("gendet", "augmenter", seed)
    augmenter = reset_parameters(Augmenter(dim, settings.teacher, settings.residual_augmenter), draw)
    if settings.residual_augmenter:
        for parameter in augmenter.out.parameters():
            nn.init.zeros_(parameter)
    return augmenter


# GenDet's three trainings in turn: teacher, rotations, classifier; each keeps a log of its epochs.

BATCH = 4096  # rows at a time where nothing is learnt
EPOCHS = ["epoch", "loss", "val_auroc"]  # the columns of the teacher's and the classifier's log
LOSSES = ["real_loss", "fake_loss", "augmenter_loss"]
DISTANCES = ["distance_reals", "distance_fakes", "distance_augmented"]


@dataclass(frozen=True)
class Split:
    """A split on the device: ``x`` (N, dim) float32 as the networks take it, ``y`` (N,) int64."""

    x: Tensor
    y: Tensor


def to_tensors(rows: LabeledEmbeddings, network: GenDetModel) -> Split:
    """The rows beside the network, scaled."""
    device = network.mean.device
    return Split(network.scaled(torch.from_numpy(rows.x).to(device)), torch.from_numpy(rows.y).to(device))


def train_teacher(
    train: LabeledEmbeddings, val: LabeledEmbeddings, settings: TeacherSettings, seed: int, device: torch.device
) -> tuple[GenDetModel, pd.DataFrame]:
    """A network that is a teacher alone, trained by cross-entropy, and its log."""
    network = GenDetModel(train.x.shape[1], settings, alone=True)
    reset_parameters(network.teacher, torch_generator("gendet", "teacher", seed))
    if settings.standardize:
        mean, std = mean_and_std(train.x)
        network.mean.copy_(torch.from_numpy(mean))
        network.scale.copy_(torch.from_numpy(1 / std))
    teacher = network.to(device).teacher
    data, held_out = to_tensors(train, network), to_tensors(val, network)
    optimizer = adamw(teacher, settings.learning_rate, settings.weight_decay)
    draw = torch_generator("gendet", "teacher rows", seed)
    log = []
    for number in range(1, settings.epochs + 1):
        loss = train_epoch(
            optimizer,
            lambda rows: cross_entropy(teacher.logits(data.x[rows]), data.y[rows]),
            *(len(data.y), settings.batch_size, draw, device),
        )
        margin = batched(lambda x: teacher.logits(x).diff(dim=1).squeeze(1), held_out.x)
        log.append({"epoch": number, "loss": loss, "val_auroc": auroc(held_out.y, margin)})
    return network, pd.DataFrame(log, columns=EPOCHS)


def fit_student(
    teacher: GenDetModel, train: LabeledEmbeddings, val: LabeledEmbeddings, settings: GenDetSettings, seed: int
) -> tuple[GenDetModel, dict[str, pd.DataFrame]]:
    """A whole network behind a teacher that stays as it is, and the logs ``rotations`` and ``classifier``."""
    network = GenDetModel(train.x.shape[1], settings.teacher, alone=False, normalized=settings.normalize_discrepancy)
    network.to(teacher.mean.device)
    network.load_state_dict(teacher.state_dict(), strict=False)
    data, held_out = to_tensors(train, network), to_tensors(val, network)
    rotations, log = train_student(network, data, held_out, settings, seed)
    x = data.x
    if settings.classifier_fakes == "augmented":
        x = torch.where(data.y[:, None] == 1, batched(rotations.augmented, x), x)
    return network, {"rotations": log, "classifier": train_classifier(network, x, data.y, held_out, settings, seed)}


def train_student(
    network: GenDetModel, data: Split, held_out: Split, settings: GenDetSettings, seed: int
) -> tuple[AlternatingTraining, pd.DataFrame]:
    """The rotations; gives them back with their log, and the trained student to the network."""
    rotations = AlternatingTraining(network.teacher, data.x[data.y == 0], data.x[data.y == 1], settings, seed)
    network.student = rotations.student
    log = []
    for number in range(1, settings.num_rotations + 1):
        losses = {"real_loss": rotations.real_epoch()}
        if settings.mode != "ad":
            losses["fake_loss"] = rotations.fake_epoch()
        if settings.mode == "full":
            losses["augmenter_loss"] = rotations.augmenter_epoch()
        log.append({"rotation": number, **losses, **_log_distances(network, rotations, held_out)})
    return rotations, pd.DataFrame(log, columns=["rotation", *LOSSES, *DISTANCES, "val_auroc"])


def train_classifier(
    network: GenDetModel, x: Tensor, y: Tensor, held_out: Split, settings: GenDetSettings, seed: int
) -> pd.DataFrame:
    """N_c of the network on the discrepancies of scaled features ``x``; it never sees the features themselves."""
    chosen = settings.classifier
    classifier = reset_parameters(network.classifier, torch_generator("gendet", "classifier", seed))
    optimizer = adamw(classifier, chosen.learning_rate, chosen.weight_decay)
    draw, targets = torch_generator("gendet", "classifier rows", seed), y.float()
    found, val = batched(network.discrepancy, x), batched(network.discrepancy, held_out.x)
    log = []
    for number in range(1, chosen.epochs + 1):
        loss = train_epoch(
            optimizer,
            lambda rows: binary_cross_entropy_with_logits(classifier(found[rows]), targets[rows]),
            *(len(targets), chosen.batch_size, draw, x.device),
        )
        log.append({"epoch": number, "loss": loss, "val_auroc": auroc(held_out.y, batched(classifier, val))})
    return pd.DataFrame(log, columns=EPOCHS)


@torch.no_grad()
def batched(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of all rows, some thousands at a time."""
    return torch.cat([function(rows) for rows in x.split(BATCH)]) if len(x) else x.new_zeros(0)


def auroc(y: Tensor, scores: Tensor) -> float:
    """NaN where one class is missing."""
    return float(roc_auc_score(y.cpu(), scores.cpu())) if len(y.unique()) == 2 else float("nan")


@torch.no_grad()
def _log_distances(network: GenDetModel, rotations: AlternatingTraining, held_out: Split) -> dict[str, float]:
    """Mean squared chord of held-out reals, fakes and augmented fakes, and how well the mean of Eq. 4 ranks them."""
    reals, fakes = held_out.x[held_out.y == 0], held_out.x[held_out.y == 1]
    parts = (reals, fakes, batched(rotations.augmented, fakes))
    distances = {
        name: batched(lambda x: squared_cosine_distance(network.teacher(x), network.student(x)), x).mean().item()
        for name, x in zip(DISTANCES, parts, strict=True)
    }
    scores = batched(lambda x: network.discrepancy(x).mean(dim=1), held_out.x)
    return distances | {"val_auroc": auroc(held_out.y, scores)}
