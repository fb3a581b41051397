"""GenDet's three trainings: teacher, rotations of student and augmenter, classifier."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from aigid.detectors.gendet.model import (
    Augmenter,
    Classifier,
    GenDetModel,
    Student,
    Teacher,
    auroc,
    fake_loss,
    log_readouts,
    readouts,
    real_loss,
    squared_cosine_distance,
)
from aigid.detectors.gendet.settings import ClassifierSettings, GenDetSettings, TeacherSettings
from aigid.detectors.samples import LabeledEmbeddings, mean_and_std
from aigid.training import prior
from aigid.training.tabular import Rows, adamw, batched, reset_parameters, torch_generator, train_epoch

STAGES = {"ad": ("real",), "ad_fake": ("real", "fake"), "full": ("real", "fake", "augmenter")}  # of a rotation
LOSSES = ["real_loss", "fake_loss", "augmenter_loss"]
DISTANCES = ["distance_reals", "distance_fakes", "distance_augmented"]


class AlternatingTraining:
    """Student and augmenter in training against a frozen teacher, on standardized features (N, dim)."""

    def __init__(
        self, teacher: Teacher, reals: Rows | Tensor, fakes: Rows | Tensor, settings: GenDetSettings, seed: int
    ) -> None:
        self.teacher, self.reals, self.fakes, self.settings = teacher.requires_grad_(False), reals, fakes, settings
        dim, device = teacher.tokeniser.linear.in_features, teacher.tokeniser.linear.weight.device
        self.student = build_student(teacher, settings, seed).to(device)
        self.augmenter = build_augmenter(dim, settings, seed).to(device)
        rates = settings.learning_rate, settings.weight_decay
        student, augmenter = adamw(self.student, *rates), adamw(self.augmenter, *rates)
        separate = settings.optimizer_sharing == "separate"
        fakes_optimizer = adamw(self.student, *rates) if separate else student
        self._optimizers = {"real": student, "fake": fakes_optimizer, "augmenter": augmenter}
        self._generator, self._device = torch_generator("gendet", "rotations", seed), device

    def epoch(self, stage: str) -> float:
        """Train on all reals or all fakes, by the loss of a stage.

        ``real``: the student on the teacher's outputs of reals (Eq. 1). ``fake``: away from them on augmented fakes
        (Eq. 2 times alpha). ``augmenter``: to generate fakes on which student and teacher agree (Eq. 3).
        """
        trained = self.augmenter if stage == "augmenter" else self.student
        for network in (self.student, self.augmenter):
            network.requires_grad_(network is trained)
        step = {"real": self.real_step, "fake": self.fake_step, "augmenter": self.augmenter_step}[stage]
        num, scale = len(self.reals if stage == "real" else self.fakes), self.settings.alpha if stage == "fake" else 1.0
        batch, optimizer = self.settings.batch_size, self._optimizers[stage]
        limit = len(self.reals) if self.settings.fake_sampling == "balanced" else None
        return train_epoch(optimizer, step, num, batch, self._generator, self._device, scale, limit)

    def real_step(self, rows: Tensor) -> Tensor:
        """Return Eq. 1 of these reals."""
        x = self.reals[rows]
        with torch.no_grad():
            zt = self.teacher(x)
        return real_loss(zt, self.student(x), self.settings.reduction)

    def fake_step(self, rows: Tensor) -> Tensor:
        """Return Eq. 2 of these fakes, augmented."""
        with torch.no_grad():
            x = self.augmented(self.fakes[rows])
            zt = self.teacher(x)
        return fake_loss(zt, self.student(x), self.settings.margin)

    def augmenter_step(self, rows: Tensor) -> Tensor:
        """Return Eq. 3 of these fakes."""
        x = self.augmenter(self.fakes[rows])
        return real_loss(self.teacher(x), self.student(x), self.settings.reduction)

    def augmented(self, x: Tensor) -> Tensor:
        """Return fakes as the student gets them; unchanged where the mode has no augmenter."""
        return self.augmenter(x) if self.settings.mode == "full" else x


def build_student(teacher: Teacher, settings: GenDetSettings, seed: int) -> Student:
    """Return the student before its first step."""
    student = Student(teacher.tokeniser.linear.in_features, settings.teacher)
    if settings.student_init == "teacher":
        student.load_state_dict({name: teacher.state_dict()[name] for name in student.state_dict()})
        return student
    return reset_parameters(student, torch_generator("gendet", "student", seed))


def build_augmenter(dim: int, settings: GenDetSettings, seed: int) -> Augmenter:
    """Return the augmenter before its first step: the identity, if it is residual."""
    generator = torch_generator("gendet", "augmenter", seed)
    augmenter = reset_parameters(Augmenter(dim, settings.teacher, settings.residual_augmenter), generator)
    if settings.residual_augmenter:
        for parameter in augmenter.out.parameters():
            nn.init.zeros_(parameter)
    return augmenter


@dataclass(frozen=True)
class Split:
    """A split on the device: rows ``x`` (N, dim) float32 and their labels ``y`` (N,) int64."""

    x: Rows
    y: Tensor

    def of(self, label: int) -> Rows:
        """Return the rows of a label."""
        return replace(self.x, numbers=torch.nonzero(self.y == label).squeeze(1))


def to_tensors(rows: LabeledEmbeddings, network: GenDetModel) -> Split:
    """Return the rows on the network's device; it standardizes what is taken of them."""
    device = network.mean.device
    x, numbers = torch.from_numpy(rows.x).to(device), torch.arange(len(rows), device=device)
    return Split(Rows(x, numbers, network.standardize), torch.from_numpy(rows.y).to(device))


def train_teacher(
    train: LabeledEmbeddings, val: LabeledEmbeddings, settings: TeacherSettings, seed: int, device: torch.device
) -> tuple[GenDetModel, pd.DataFrame]:
    """Return a network of a teacher only, trained by cross-entropy, and its log."""
    network = GenDetModel(train.x.shape[1], settings, teacher_only=True)
    reset_parameters(network.teacher, torch_generator("gendet", "teacher", seed))
    if settings.standardize:
        mean, std = mean_and_std(train.x)
        network.mean.copy_(torch.from_numpy(mean))
        network.scale.copy_(torch.from_numpy(1 / std))
    teacher = network.to(device).teacher
    data, validation = to_tensors(train, network), to_tensors(val, network)

    def loss(rows: Tensor) -> Tensor:
        return cross_entropy(teacher.logits(data.x[rows]), data.y[rows])

    def margin(x: Tensor) -> Tensor:
        return teacher.logits(x).diff(dim=1).squeeze(1)

    generator = torch_generator("gendet", "teacher rows", seed)
    return network, _descend(teacher, settings, loss, generator, margin, validation, data.y)


def fit_student(
    teacher: GenDetModel, train: LabeledEmbeddings, val: LabeledEmbeddings, settings: GenDetSettings, seed: int
) -> tuple[GenDetModel, dict[str, pd.DataFrame]]:
    """Return a network with a frozen teacher, and the logs ``rotations``, ``classifier`` and ``readouts``."""
    network = GenDetModel(train.x.shape[1], settings.teacher, False, settings.normalize_discrepancy)
    network.to(teacher.mean.device)
    network.load_state_dict(teacher.state_dict(), strict=False)
    data, validation = to_tensors(train, network), to_tensors(val, network)
    rotations, log = train_student(network, data, validation, settings, seed)
    augment = rotations.augmented if settings.classifier_fakes == "augmented" else None
    logs = {"rotations": log, "classifier": train_classifier(network, data, validation, settings, seed, augment)}
    logs["readouts"] = log_readouts(readouts(network, data.x, data.y, seed), validation.x, validation.y)
    return network, logs


def train_student(
    network: GenDetModel, data: Split, validation: Split, settings: GenDetSettings, seed: int
) -> tuple[AlternatingTraining, pd.DataFrame]:
    """Train student and augmenter in turn; put the student into the network; return the rotations and their log.

    Row 0 of the log is the untrained student; ``steps`` are those on reals so far.
    """
    rotations = AlternatingTraining(network.teacher, data.of(0), data.of(1), settings, seed)
    network.student = rotations.student
    log = [{"rotation": 0, "steps": 0, **_log_distances(network, rotations, validation)}]
    steps = -(-len(rotations.reals) // settings.batch_size)
    for number in range(1, settings.num_rotations + 1):
        losses = {f"{stage}_loss": rotations.epoch(stage) for stage in STAGES[settings.mode]}
        log.append({"rotation": number, "steps": number * steps, **losses})
        log[-1] |= _log_distances(network, rotations, validation)
    return rotations, pd.DataFrame(log, columns=["rotation", "steps", *LOSSES, *DISTANCES, "val_auroc"])


def train_classifier(
    network: GenDetModel,
    data: Split,
    validation: Split,
    settings: GenDetSettings,
    seed: int,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> pd.DataFrame:
    """Train N_c on the discrepancies of ``data``, its fakes by ``augment``; it never sees the features themselves."""
    assert network.classifier is not None, "a teacher alone has no classifier"
    classifier = reset_parameters(network.classifier, torch_generator("gendet", "classifier", seed))

    def loss(rows: Tensor) -> Tensor:
        x, y = data.x[rows], data.y[rows]
        with torch.no_grad():
            differences = network.output_difference(torch.where(y[:, None] == 1, augment(x), x) if augment else x)
        return binary_cross_entropy_with_logits(classifier(differences), y.float())

    def score(x: Tensor) -> Tensor:
        logits: Tensor = classifier(network.output_difference(x))
        return logits

    generator = torch_generator("gendet", "classifier rows", seed)
    return _descend(classifier, settings.classifier, loss, generator, score, validation, data.y)


def _descend(
    network: Teacher | Classifier,
    settings: TeacherSettings | ClassifierSettings,
    loss: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    score: Callable[[Tensor], Tensor],
    validation: Split,
    y: Tensor,
) -> pd.DataFrame:
    """Train a network by AdamW; return the loss of each epoch and the AUROC of its scores on ``validation``.

    ``y`` (N,) are the labels of the rows whose numbers ``loss`` gets.
    """
    prior_loss = prior.prior_loss(y.cpu())
    optimizer, device = adamw(network, settings.learning_rate, settings.weight_decay), validation.y.device
    log = []
    for number in range(1, settings.epochs + 1):
        value = train_epoch(optimizer, loss, len(y), settings.batch_size, generator, device)
        log.append((number, value, prior_loss, auroc(validation.y, batched(score, validation.x))))
    return pd.DataFrame(log, columns=["epoch", "loss", prior.COLUMN, "val_auroc"])


@torch.no_grad()
def _log_distances(network: GenDetModel, rotations: AlternatingTraining, validation: Split) -> dict[str, float]:
    """Return the mean squared chord of reals, fakes and augmented fakes, and the AUROC of the mean of Eq. 4."""
    reals, fakes = validation.of(0), validation.of(1)

    def distance(x: Tensor) -> Tensor:
        return squared_cosine_distance(network.teacher(x), rotations.student(x))

    functions = distance, distance, lambda x: distance(rotations.augmented(x))
    distances = {
        name: batched(function, x).mean().item()
        for name, function, x in zip(DISTANCES, functions, (reals, fakes, fakes), strict=True)
    }
    scores = batched(lambda x: network.output_difference(x).mean(dim=1), validation.x)
    return distances | {"val_auroc": auroc(validation.y, scores)}
