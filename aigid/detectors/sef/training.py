"""Stage 1: train an expert on the pairs of one domain, or on those of several at once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aigid.base.errors import InputError
from aigid.base.files import num_workers
from aigid.detectors.sef import losses, sampling
from aigid.detectors.sef.expert import Expert, build
from aigid.detectors.sef.pairs import Pairs, fingerprint
from aigid.detectors.sef.settings import ExpertSettings
from aigid.detectors.training import finetuning, parallel
from aigid.detectors.training.plan import Learner, Plan, Position
from aigid.evaluation import metrics
from aigid.evaluation.ranking import rank
from aigid.features.encoder import normalised
from aigid.features.preprocess import to_square

REVISION = 1  # of the training's result; raise it when equal settings give other weights than before
EVAL_BATCH = 128


class Lessons:
    """The training pairs of one or several domains, as many of each; an item is the pair of the domain in turn."""

    def __init__(self, domains: Sequence[Pairs], settings: ExpertSettings, size: int, seed: int) -> None:
        self.domains, self.settings, self.size, self.seed = domains, settings, size, seed
        if len({len(pairs) for pairs in domains}) != 1:
            raise InputError(f"{', '.join(f'{it.root}: {len(it)} pairs' for it in domains)}; want as many of each")
        if not len(domains[0]):
            raise InputError(f"{domains[0].root}: no pair in its training split")
        for pairs in domains:
            pairs.warn_of_small(size)
        self._pool = ThreadPoolExecutor(num_workers())

    def __len__(self) -> int:
        return len(self.domains[0])

    def take(self, epoch: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, S, S, 3) uint8 and their labels (N,); a pair's domain changes with the epoch."""
        made = self._pool.map(lambda item: self._one(epoch, int(item)), items)
        return np.concatenate(list(made)), sampling.labels(len(items), self.settings.sampling)

    def _one(self, epoch: int, item: int) -> np.ndarray:
        pairs = self.domains[(item + epoch) % len(self.domains)]
        real, fake = pairs.read(item)
        quality, path = pairs.records[item].get("quality"), pairs.records[item]["real"]
        return sampling.lesson(real, fake, quality, self.settings.sampling, self.size, (self.seed, epoch, path))


def fit(
    settings: ExpertSettings, domains: dict[str, Pairs], seed: int, device: torch.device
) -> tuple[Expert, list[dict[str, float]], Path]:
    """The expert after all epochs, the log, and the run's checkpoint, to unlink once the expert is saved.

    All experts of a seed start from the same adapters; ``both`` has as many steps as one of the others.
    """
    expert = build(settings, seed)
    lessons = Lessons([it.split("train") for it in domains.values()], settings, expert.how.size, seed)
    about = [REVISION, settings.model_dump(mode="json"), seed, expert.base]
    about += [[name, fingerprint(pairs.root)] for name, pairs in domains.items()]
    path = finetuning.checkpoint(about)
    log = finetuning.train(
        plan(settings, len(lessons), seed), learner(expert.to(device), settings, lessons, domains), path
    )
    return expert.requires_grad_(False).eval(), log, path


def plan(settings: ExpertSettings, num_pairs: int, seed: int) -> Plan:
    """As long as the settings say."""
    mixed = settings.precision == "mixed"
    return Plan("sef", seed, num_pairs, settings.batch_size, settings.epochs, settings.accumulate_steps, mixed)


def learner(expert: Expert, settings: ExpertSettings, lessons: Lessons, domains: dict[str, Pairs]) -> Learner:
    """Cross-entropy and the contrastive loss; no epoch is chosen, validation is only looked at."""
    trained = [value for value in expert.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.t_max, settings.eta_min)
    device = expert.device

    def loss(at: Position, lesson: tuple[np.ndarray, np.ndarray]) -> dict[str, Tensor]:
        expert.train()
        images, y = lesson
        features, logits = expert(normalised(images, expert.how, device))
        whole = (parallel.gather(part) for part in (features, logits, torch.from_numpy(y).to(device)))
        return losses.objective(*whole, settings.contrastive_weight, settings.margin)

    def judge() -> tuple[dict[str, float], None]:
        return {f"val_auroc_{name}": auroc(expert, pairs.split("val")) for name, pairs in domains.items()}, None

    return Learner(expert, optimizer, schedule, loss, judge, lesson=lambda at, items: lessons.take(at.epoch, items))


def auroc(expert: Expert, pairs: Pairs) -> float:
    """Of the pairs' clean centres; NaN without pairs."""
    if not len(pairs):
        return float("nan")
    found = [predict(expert, [pairs.read(place)[kind] for place in range(len(pairs))]) for kind in (0, 1)]
    return metrics.auroc(rank(np.repeat([0, 1], len(pairs)), np.concatenate(found)))


@torch.inference_mode()
def predict(expert: Expert, images: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (N,) of images, each cut or padded as the tower wants it."""
    expert.eval()
    device, found = expert.device, []
    for start in range(0, len(images), EVAL_BATCH):
        block = np.stack([to_square(image, expert.how) for image in images[start : start + EVAL_BATCH]])
        found.append(expert(normalised(block, expert.how, device))[1].float().cpu().numpy())
    return np.concatenate(found)
