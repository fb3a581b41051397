"""Stage 1: train an expert on the pairs of one domain, or on those of several at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aigid.core.errors import InputError
from aigid.core.files import num_workers, sha256
from aigid.degradations.views import policy_to_dict
from aigid.detectors.sef import data
from aigid.detectors.sef.data import Pairs
from aigid.detectors.sef.losses import losses
from aigid.detectors.sef.model import Expert, base_settings, build
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.encoder import normalize
from aigid.features.preprocess import resize_and_crop
from aigid.metrics import classification
from aigid.training import distributed, loop, prior
from aigid.training.loop import StepInfo, TrainConfig, TrainTask

REVISION = 2  # of the training's result; raise it when equal settings give other weights than before
EVAL_BATCH = 128


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
        self._pool = ThreadPoolExecutor(num_workers())

    def __len__(self) -> int:
        return len(self.domains[0])

    def take(self, epoch: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return images (N, S, S, 3) uint8 and their labels (N,); a pair's domain changes with the epoch."""
        return data.collate(list(self._pool.map(lambda item: self._one(epoch, int(item)), items)))

    def _one(self, epoch: int, item: int) -> np.ndarray:
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
    config = [REVISION, settings.model_dump(mode="json"), policy_to_dict(settings.sampling.policy), seed, expert.base]
    config += [[name, sha256(pairs.root / "manifest.csv")] for name, pairs in domains.items()]
    path, task = loop.checkpoint_path(config), training_task(expert.to(device), settings, train_pairs, domains)
    log = loop.train(plan(settings, len(train_pairs), seed), task, path)
    return expert.requires_grad_(False).eval(), log, path


def plan(settings: ExpertSettings, num_pairs: int, seed: int) -> TrainConfig:
    """Return the length of the training."""
    mixed = settings.precision == "mixed"
    return TrainConfig("sef", seed, num_pairs, settings.batch_size, settings.epochs, settings.accumulate_steps, mixed)


def training_task(
    expert: Expert, settings: ExpertSettings, train_pairs: PairBatches, domains: dict[str, Pairs]
) -> TrainTask:
    """Return the task: cross-entropy and the contrastive loss; no epoch is chosen, validation is only logged."""
    (optimizer, schedule), device = optimizer_and_schedule(expert, settings), expert.device

    def loss(at: StepInfo, batch: tuple[np.ndarray, np.ndarray]) -> dict[str, Tensor]:
        expert.train()
        images, y = batch
        features, logits = expert(normalize(images, expert.preprocess, device))
        features, logits, labels = map(distributed.all_gather, (features, logits, torch.from_numpy(y).to(device)))
        return losses(features, logits, labels, settings.contrastive_weight, settings.margin)

    def validate() -> tuple[dict[str, float], None]:
        aurocs = {f"val_auroc_{name}": auroc(expert, pairs.split("val")) for name, pairs in domains.items()}
        weight = 1 - settings.contrastive_weight  # of the cross-entropy of pairs
        return ({prior.COLUMN: weight * prior.prior_loss([0, 1])} if weight else {}) | aurocs, None

    return TrainTask(
        expert, optimizer, schedule, loss, validate, make_batch=lambda at, items: train_pairs.take(at.epoch, items)
    )


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


def auroc(expert: Expert, pairs: Pairs) -> float:
    """Return AUROC of the pairs' clean centers; NaN without pairs."""
    if not len(pairs):
        return float("nan")
    logits = [predict(expert, [pairs.read(index)[kind] for index in range(len(pairs))]) for kind in (0, 1)]
    return classification.auroc(classification.rank(np.repeat([0, 1], len(pairs)), np.concatenate(logits)))


@torch.inference_mode()
def predict(expert: Expert, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return logits (N,) of images, each cut or padded to the encoder's size."""
    expert.eval()
    device, logits = expert.device, []
    for start in range(0, len(images), EVAL_BATCH):
        block = np.stack([resize_and_crop(image, expert.preprocess) for image in images[start : start + EVAL_BATCH]])
        logits.append(expert(normalize(block, expert.preprocess, device))[1].float().cpu().numpy())
    return np.concatenate(logits)


def backbone(settings: ExpertSettings, experts: Sequence[Path]) -> BackboneSettings | ConcatSettings:
    """Return the saved experts side by side, their adapters merged: each costs what the bare encoder costs."""
    parts = [base_settings(settings).model_copy(update={"adapter": str(path)}) for path in experts]
    return ConcatSettings(library="joint", parts=parts, dtype="float32") if len(parts) > 1 else parts[0]
