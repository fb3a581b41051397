"""GenDet's three trainings in turn: teacher, rotations, classifier; each keeps a log of its epochs."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from aigid.detectors.base.rows import Rows, standardization
from aigid.detectors.descent import adamw, epoch, generator, initialise
from aigid.detectors.gendet.losses import squared_chord
from aigid.detectors.gendet.network import Network
from aigid.detectors.gendet.rotation import Rotations
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.training_log import Logs

BLOCK = 4096  # rows at a time where nothing is learnt
EPOCHS = ["epoch", "loss", "val_auroc"]  # the columns of the teacher's and the classifier's log
LOSSES = ["real_loss", "fake_loss", "augmenter_loss"]
DISTANCES = ["distance_reals", "distance_fakes", "distance_augmented"]


@dataclass(frozen=True)
class Data:
    """A split on the device: ``x`` (N, dim) float32 as the networks take it, ``y`` (N,) int64."""

    x: Tensor
    y: Tensor


def on_device(rows: Rows, network: Network) -> Data:
    """The rows beside the network, scaled."""
    device = network.mean.device
    return Data(network.scaled(torch.from_numpy(rows.x).to(device)), torch.from_numpy(rows.y).to(device))


def train_teacher(
    train: Rows, val: Rows, settings: TeacherSettings, seed: int, device: torch.device
) -> tuple[Network, pd.DataFrame]:
    """A network that is a teacher alone, trained by cross-entropy, and its log."""
    network = Network(train.x.shape[1], settings, alone=True)
    initialise(network.teacher, generator("gendet", "teacher", seed))
    if settings.standardize:
        mean, std = standardization(train.x)
        network.mean.copy_(torch.from_numpy(mean))
        network.scale.copy_(torch.from_numpy(1 / std))
    teacher = network.to(device).teacher
    data, held_out = on_device(train, network), on_device(val, network)
    optimizer = adamw(teacher, settings.learning_rate, settings.weight_decay)
    draw = generator("gendet", "teacher rows", seed)
    log = []
    for number in range(1, settings.epochs + 1):
        loss = epoch(
            optimizer,
            lambda rows: cross_entropy(teacher.logits(data.x[rows]), data.y[rows]),
            *(len(data.y), settings.batch_size, draw, device),
        )
        margin = in_blocks(lambda x: teacher.logits(x).diff(dim=1).squeeze(1), held_out.x)
        log.append({"epoch": number, "loss": loss, "val_auroc": auroc(held_out.y, margin)})
    return network, pd.DataFrame(log, columns=EPOCHS)


def fit_student(teacher: Network, train: Rows, val: Rows, settings: GenDetSettings, seed: int) -> tuple[Network, Logs]:
    """A whole network behind a teacher that stays as it is, and the logs ``rotations`` and ``classifier``."""
    network = Network(train.x.shape[1], settings.teacher, alone=False, normalized=settings.normalize_discrepancy)
    network.to(teacher.mean.device)
    network.load_state_dict(teacher.state_dict(), strict=False)
    data, held_out = on_device(train, network), on_device(val, network)
    rotations, log = train_student(network, data, held_out, settings, seed)
    x = data.x
    if settings.classifier_fakes == "augmented":
        x = torch.where(data.y[:, None] == 1, in_blocks(rotations.augmented, x), x)
    return network, {"rotations": log, "classifier": train_classifier(network, x, data.y, held_out, settings, seed)}


def train_student(
    network: Network, data: Data, held_out: Data, settings: GenDetSettings, seed: int
) -> tuple[Rotations, pd.DataFrame]:
    """The rotations; gives them back with their log, and the trained student to the network."""
    rotations = Rotations(network.teacher, data.x[data.y == 0], data.x[data.y == 1], settings, seed)
    network.student = rotations.student
    log = []
    for number in range(1, settings.num_rotations + 1):
        losses = {"real_loss": rotations.real_epoch()}
        if settings.mode != "ad":
            losses["fake_loss"] = rotations.fake_epoch()
        if settings.mode == "full":
            losses["augmenter_loss"] = rotations.augmenter_epoch()
        log.append({"rotation": number, **losses, **_watch(network, rotations, held_out)})
    return rotations, pd.DataFrame(log, columns=["rotation", *LOSSES, *DISTANCES, "val_auroc"])


def train_classifier(
    network: Network, x: Tensor, y: Tensor, held_out: Data, settings: GenDetSettings, seed: int
) -> pd.DataFrame:
    """N_c of the network on the discrepancies of scaled features ``x``; it never sees the features themselves."""
    chosen = settings.classifier
    classifier = initialise(network.classifier, generator("gendet", "classifier", seed))
    optimizer = adamw(classifier, chosen.learning_rate, chosen.weight_decay)
    draw, targets = generator("gendet", "classifier rows", seed), y.float()
    found, val = in_blocks(network.discrepancy, x), in_blocks(network.discrepancy, held_out.x)
    log = []
    for number in range(1, chosen.epochs + 1):
        loss = epoch(
            optimizer,
            lambda rows: binary_cross_entropy_with_logits(classifier(found[rows]), targets[rows]),
            *(len(targets), chosen.batch_size, draw, x.device),
        )
        log.append({"epoch": number, "loss": loss, "val_auroc": auroc(held_out.y, in_blocks(classifier, val))})
    return pd.DataFrame(log, columns=EPOCHS)


@torch.no_grad()
def in_blocks(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function`` of all rows, some thousands at a time."""
    return torch.cat([function(rows) for rows in x.split(BLOCK)]) if len(x) else x.new_zeros(0)


def auroc(y: Tensor, scores: Tensor) -> float:
    """NaN where one class is missing."""
    return float(roc_auc_score(y.cpu(), scores.cpu())) if len(y.unique()) == 2 else float("nan")


@torch.no_grad()
def _watch(network: Network, rotations: Rotations, held_out: Data) -> dict[str, float]:
    """Mean squared chord of held-out reals, fakes and augmented fakes, and how well the mean of Eq. 4 ranks them."""
    reals, fakes = held_out.x[held_out.y == 0], held_out.x[held_out.y == 1]
    parts = (reals, fakes, in_blocks(rotations.augmented, fakes))
    distances = {
        name: in_blocks(lambda x: squared_chord(network.teacher(x), network.student(x)), x).mean().item()
        for name, x in zip(DISTANCES, parts, strict=True)
    }
    scores = in_blocks(lambda x: network.discrepancy(x).mean(dim=1), held_out.x)
    return distances | {"val_auroc": auroc(held_out.y, scores)}
