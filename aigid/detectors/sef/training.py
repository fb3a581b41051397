"""Stage 1: train an expert on the pairs of one domain, or on those of several at once."""

from collections.abc import Mapping, Sequence
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigid.core.cache import checkpoint_path
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.degradations.views import policy_to_dict
from aigid.detectors.sef import data
from aigid.detectors.sef.data import Pairs
from aigid.detectors.sef.losses import losses
from aigid.detectors.sef.model import Expert, base_settings, build
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features import lora
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.encoder import normalize
from aigid.features.preprocess import resize_and_crop
from aigid.metrics import classification
from aigid.training import loop, prior
from aigid.training.task import StepInfo, TrainConfig, TrainTask, Validation

REVISION = 2  # of the training's result; raise it when equal settings give other weights than before


class PairBatches:
    """The training pairs of one or several domains, as many of each; an item is the pair of the domain in turn."""

    def __init__(self, domains: Sequence[Pairs], settings: ExpertSettings, size: int, seed: int) -> None:
        self.domains, self.settings, self.size, self.seed = domains, settings, size, seed
        if len({len(pairs) for pairs in domains}) != 1:
            counts = ", ".join(f"{pairs.root}: {len(pairs)} pairs" for pairs in domains)
            raise InputError(f"{counts}; want as many of each")
        if not len(domains[0]):
            raise InputError(f"{domains[0].root}: no pair in its training split")
        for pairs in domains:
            pairs.warn_of_small(size)

    def __len__(self) -> int:
        return len(self.domains[0])

    def take(self, epoch: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, S, S, 3) uint8 and their labels (N,); a pair's domain changes with the epoch."""
        images = [self.pair(epoch, int(item)) for item in items]
        return np.concatenate(images), data.labels(len(items), self.settings.sampling)

    def pair(self, epoch: int, item: int) -> np.ndarray:
        """Return the images (2 M, S, S, 3) uint8 of a pair, of M scales."""
        pairs = self.domains[(item + epoch) % len(self.domains)]
        real, fake = pairs.read(item)
        quality, path = pairs.records[item].get("quality"), pairs.records[item]["real"]
        return data.make_batch(real, fake, quality, self.settings.sampling, self.size, (self.seed, epoch, path))


def fit(
    settings: ExpertSettings, domains: dict[str, Pairs], seed: int, device: torch.device
) -> tuple[Expert, list[dict[str, float]], Path]:
    """Train an expert; return it, the log, and the run's checkpoint, to unlink once the expert is saved.

    All experts of a seed start from the same adapters; ``both`` has as many steps as one of the others.
    """
    expert = build(settings, seed)
    pairs_of = [pairs.split("train") for pairs in domains.values()]
    train_pairs = PairBatches(pairs_of, settings, expert.preprocess.size, seed)
    config = [REVISION, lora.REVISION, settings.model_dump(mode="json"), seed, expert.base]
    config += [[name, sha256(pairs.root / "manifest.csv")] for name, pairs in domains.items()]
    path = checkpoint_path(f"sef {' '.join(domains)}", config)
    task = training_task(expert.to(device), settings, train_pairs, domains)
    log = loop.train(plan(settings, len(train_pairs), seed), task, path)
    return expert.requires_grad_(False).eval(), log, path


def plan(settings: ExpertSettings, num_pairs: int, seed: int) -> TrainConfig:
    """Return the length of the training."""
    images = len(data.labels(1, settings.sampling))
    sizes = num_pairs, settings.batch_size, settings.epochs, settings.contrastive_batch_size, images
    definitions = policy_to_dict(settings.sampling.policy)
    return TrainConfig("sef", seed, *sizes, precision=settings.precision, definitions=definitions)


def training_task(
    expert: Expert, settings: ExpertSettings, train_pairs: PairBatches, domains: dict[str, Pairs]
) -> TrainTask:
    """Return the task: cross-entropy and the contrastive loss; no epoch is chosen, validation is only logged."""
    (optimizer, schedule), device = optimizer_and_schedule(expert, settings), expert.device

    labels = torch.from_numpy(data.labels(1, settings.sampling)).to(device)

    def read(epoch: int, items: np.ndarray) -> tuple[np.ndarray]:
        return (np.stack([train_pairs.pair(epoch, int(item)) for item in items]),)

    def outputs(at: StepInfo, batch: tuple[Tensor]) -> tuple[Tensor, ...]:
        """Return features (n, 2 M, D) and logits (n, 2 M) of the images of n pairs."""
        expert.train()
        results = expert(normalize(batch[0].flatten(0, 1), expert.preprocess, device))
        return tuple(result.unflatten(0, (-1, len(labels))) for result in results)

    def loss(at: StepInfo, group: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        features, logits = (output.flatten(0, 1) for output in group)
        return losses(features, logits, labels.repeat(len(group[0])), settings.contrastive_weight, settings.margin)

    validation = validation_of(expert, settings, {name: pairs.split("val") for name, pairs in domains.items()})
    return TrainTask(expert, optimizer, schedule, loss, validation, outputs, read=read)


def validation_of(expert: Expert, settings: ExpertSettings, domains: Mapping[str, Pairs]) -> Validation:
    """Return validation by AUROC of the clean centers of each domain's pairs."""
    pairs = [(domain, index) for domain in domains.values() for index in range(len(domain))]

    def read(items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = [pairs[item][0].read(pairs[item][1]) for item in items]
        squares = [[resize_and_crop(image, expert.preprocess) for image in pair] for pair in chosen]
        real, fake = np.stack(squares, axis=1)
        return real, fake

    def metrics(logits: np.ndarray) -> tuple[dict[str, float], None]:
        weight, values, start = 1 - settings.contrastive_weight, {}, 0  # the weight of the cross-entropy of pairs
        for name, domain in domains.items():
            part, start = logits[start : start + len(domain)], start + len(domain)
            labels = np.repeat([0, 1], len(part))
            ranking = classification.rank(labels, part.T.ravel()) if len(part) else None
            values[f"val_auroc_{name}"] = classification.auroc(ranking) if ranking else float("nan")
        return ({prior.COLUMN: weight * prior.prior_loss([0, 1])} if weight else {}) | values, None

    def predict(batch: tuple[Tensor, Tensor]) -> Tensor:
        expert.eval()
        both = [expert(normalize(side, expert.preprocess, expert.device))[1].float() for side in batch]
        return torch.stack(both, dim=1)

    item_bytes = 6 * expert.preprocess.size**2
    return Validation(len(pairs), item_bytes, read, predict, metrics)


def optimizer_and_schedule(
    expert: Expert, settings: ExpertSettings
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW of the head and the adapters, each at a rate of its own, and the cosine that both follow.

    DDA's list of parameters holds each adapter twice, so that each of its updates is two steps on one gradient: its
    adapters learn at about twice the rate of its head.
    """
    adapters = [value for value in expert.encoder.parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(expert.head.parameters())},
        {"params": adapters, "lr": settings.lora_learning_rate or settings.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    floor, t_max = settings.eta_min / settings.learning_rate, settings.t_max
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: floor + (1 - floor) * (1 + cos(pi * step / t_max)) / 2
    )


def backbone(settings: ExpertSettings, experts: Sequence[Path]) -> BackboneSettings | ConcatSettings:
    """Return the saved experts side by side, their adapters merged: each costs what the bare encoder costs."""
    parts = [base_settings(settings).model_copy(update={"adapter": str(path)}) for path in experts]
    return ConcatSettings(library="joint", parts=parts, dtype="float32") if len(parts) > 1 else parts[0]
