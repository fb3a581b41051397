"""Stage 1: train an expert on the pairs of one domain, or on those of several at once."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aigid.core.errors import InputError
from aigid.core.files import num_workers
from aigid.detectors.samples import LabeledEmbeddings, Samples, join
from aigid.detectors.sef import data, losses
from aigid.detectors.sef.data import Pairs, fingerprint
from aigid.detectors.sef.model import Expert, base_settings, build
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.encoder import normalize
from aigid.features.extract import EncoderLoader, ExtractionResult, extract
from aigid.features.preprocess import resize_and_crop
from aigid.metrics import classification
from aigid.metrics.classification import rank
from aigid.training import distributed, loop
from aigid.training.loop import StepInfo, TrainConfig, TrainTask

REVISION = 1  # of the training's result; raise it when equal settings give other weights than before
EVAL_BATCH = 128


class PairBatches:
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
        return np.concatenate(list(made)), data.labels(len(items), self.settings.sampling)

    def _one(self, epoch: int, item: int) -> np.ndarray:
        pairs = self.domains[(item + epoch) % len(self.domains)]
        real, fake = pairs.read(item)
        quality, path = pairs.records[item].get("quality"), pairs.records[item]["real"]
        return data.make_batch(real, fake, quality, self.settings.sampling, self.size, (self.seed, epoch, path))


def fit(
    settings: ExpertSettings, domains: dict[str, Pairs], seed: int, device: torch.device
) -> tuple[Expert, list[dict[str, float]], Path]:
    """The expert after all epochs, the log, and the run's checkpoint, to unlink once the expert is saved.

    All experts of a seed start from the same adapters; ``both`` has as many steps as one of the others.
    """
    expert = build(settings, seed)
    lessons = PairBatches([it.split("train") for it in domains.values()], settings, expert.how.size, seed)
    about = [REVISION, settings.model_dump(mode="json"), seed, expert.base]
    about += [[name, fingerprint(pairs.root)] for name, pairs in domains.items()]
    path = loop.checkpoint_path(about)
    log = loop.train(plan(settings, len(lessons), seed), learner(expert.to(device), settings, lessons, domains), path)
    return expert.requires_grad_(False).eval(), log, path


def plan(settings: ExpertSettings, num_pairs: int, seed: int) -> TrainConfig:
    """As long as the settings say."""
    mixed = settings.precision == "mixed"
    return TrainConfig("sef", seed, num_pairs, settings.batch_size, settings.epochs, settings.accumulate_steps, mixed)


def learner(expert: Expert, settings: ExpertSettings, lessons: PairBatches, domains: dict[str, Pairs]) -> TrainTask:
    """Cross-entropy and the contrastive loss; no epoch is chosen, validation is only looked at."""
    trained = [value for value in expert.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.t_max, settings.eta_min)
    device = expert.device

    def loss(at: StepInfo, lesson: tuple[np.ndarray, np.ndarray]) -> dict[str, Tensor]:
        expert.train()
        images, y = lesson
        features, logits = expert(normalize(images, expert.how, device))
        whole = (distributed.all_gather(part) for part in (features, logits, torch.from_numpy(y).to(device)))
        return losses.loss(*whole, settings.contrastive_weight, settings.margin)

    def judge() -> tuple[dict[str, float], None]:
        return {f"val_auroc_{name}": auroc(expert, pairs.split("val")) for name, pairs in domains.items()}, None

    return TrainTask(
        expert, optimizer, schedule, loss, judge, make_batch=lambda at, items: lessons.take(at.epoch, items)
    )


def auroc(expert: Expert, pairs: Pairs) -> float:
    """Of the pairs' clean centres; NaN without pairs."""
    if not len(pairs):
        return float("nan")
    found = [predict(expert, [pairs.read(place)[kind] for place in range(len(pairs))]) for kind in (0, 1)]
    return classification.auroc(rank(np.repeat([0, 1], len(pairs)), np.concatenate(found)))


@torch.inference_mode()
def predict(expert: Expert, images: Sequence[np.ndarray]) -> np.ndarray:
    """Logits (N,) of images, each cut or padded as the tower wants it."""
    expert.eval()
    device, found = expert.device, []
    for start in range(0, len(images), EVAL_BATCH):
        block = np.stack([resize_and_crop(image, expert.how) for image in images[start : start + EVAL_BATCH]])
        found.append(expert(normalize(block, expert.how, device))[1].float().cpu().numpy())
    return np.concatenate(found)


# The experts as backbones: their features through the same row cache, engine and file as any other's.


def backbone(settings: ExpertSettings, experts: Sequence[Path]) -> BackboneSettings | ConcatSettings:
    """The saved experts side by side, their adapters merged: each costs what the bare tower costs."""
    parts = [base_settings(settings).model_copy(update={"adapter": str(path)}) for path in experts]
    return ConcatSettings(library="joint", parts=parts, dtype="float32") if len(parts) > 1 else parts[0]


def embed(
    settings: ExpertSettings,
    experts: Sequence[Path],
    table: pd.DataFrame,
    root: Path,
    views: Sequence[str],
    seed: int,
    loader: EncoderLoader | None = None,
) -> ExtractionResult:
    """The experts' features of a manifest's images; ``loader`` keeps them from one call to the next."""
    return extract(table, root, backbone(settings, experts), views, seed, loader=loader)


def training_rows(domains: Iterable[Samples], split: str, views: Sequence[str]) -> LabeledEmbeddings:
    """One split of all domains in several views, below each other: as many reals as fakes, half of each domain."""
    return join([domain.split(split, views) for domain in domains])
