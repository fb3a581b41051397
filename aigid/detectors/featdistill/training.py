"""Stage 1 and stage 2 of an expert, as lessons for the one training loop."""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import cos, pi
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.files import num_workers
from aigid.detectors.featdistill.data import Batch, TrainDataset, select_rows
from aigid.detectors.featdistill.losses import Distiller, build_distiller
from aigid.detectors.featdistill.model import Expert, p_generated
from aigid.detectors.featdistill.settings import ExpertSettings, FeatDistillSettings, OptimizerSettings, Stage2Settings
from aigid.features import lora
from aigid.features.encoder import normalize
from aigid.features.preprocess import Preprocess
from aigid.metrics.classification import auroc, rank
from aigid.training import loop
from aigid.training.loop import StepInfo, TrainConfig, TrainTask

REVISION = 1  # of the training's result; raise it when equal settings give other weights than before


class StageRun:
    """Everything about one stage of one expert: its images, its settings, and the name of its checkpoint."""

    def __init__(
        self, settings: FeatDistillSettings, name: str, stage: int, manifest: pd.DataFrame, root: Path, seed: int
    ) -> None:
        self.expert, self.name, self.stage = settings.experts[name], name, stage
        self.descent: OptimizerSettings = settings.stage1 if stage == 1 else settings.stage2
        self.how: Preprocess = self.expert.backbone.preprocess
        data, self.seed = settings.data, self.expert.seed + 1000 * seed
        aligned = isinstance(self.descent, Stage2Settings) and self.descent.preserve_spatial_alignment
        splits = {"train": data.max_images, "val": data.max_val_images}
        self.train, self.val = (
            TrainDataset(select_rows(manifest, split, num, seed), root, data, self.how, self.seed, aligned)
            for split, num in splits.items()
        )
        self.about = {
            "revision": REVISION,
            "expert": self.expert.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            f"stage{stage}": self.descent.model_dump(mode="json"),
            "seed": seed,
            "images": _config_hash([self.train.images[["sha256", "label"]].to_numpy().tolist()]),
        }

    @property
    def fingerprint(self) -> str:
        """Of all that decides what comes of stage 1; of stage 2 together with its start."""
        return _config_hash(self.about)

    def plan(self) -> TrainConfig:
        """As long as the settings say."""
        descent, name = self.descent, f"featdistill {self.name} stage {self.stage}"
        sizes = (len(self.train), min(descent.batch_size, len(self.train)), descent.epochs, descent.accumulate_steps)
        return TrainConfig(name, self.seed, *sizes, mixed_precision=True, max_norm=descent.max_norm)


def train(
    course: StageRun, expert: Expert, device: torch.device, start: str = ""
) -> tuple[list[dict[str, float]], Path]:
    """Train the expert in place; the log, a row an epoch, and the checkpoint, to be unlinked when all is safe.

    In stage 2 the expert as it comes is the teacher; ``start`` is the fingerprint of its stage 1.
    """
    plan, descent = course.plan(), course.descent
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        _prepare(expert, course.expert, plan.seed)
        taught = build_distiller(expert.to(device), descent, len(course.train))
        with ThreadPoolExecutor(num_workers()) as pool:
            path = loop.checkpoint_path([course.about, start, os.environ.get("WORLD_SIZE", "1")])
            log = loop.train(plan, training_task(course, plan, expert, taught, pool), path)
    if course.expert.lora:
        lora.merge_parametrizations(expert.vision_encoder)
    expert.eval()
    return log, path


def _prepare(expert: Expert, settings: ExpertSettings, seed: int) -> None:
    """Adapters, and activations that are computed again on the way back, where the settings want them."""
    if settings.lora:
        lora.inject(expert.vision_encoder, settings.lora, seed)
    if settings.gradient_checkpointing:
        lora.lora_state_dict(expert.vision_encoder)


def training_task(
    course: StageRun, plan: TrainConfig, expert: Expert, taught: Distiller, pool: ThreadPoolExecutor
) -> TrainTask:
    """What the stage descends; no epoch is chosen, validation is only looked at."""
    optimizer = build_optimizer(expert, taught.net, course.descent)
    shares = lr_schedule(plan.num_steps * plan.epochs, course.descent.warmup_fraction)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shares)
    device = next(expert.parameters()).device

    def loss(at: StepInfo, batch: Batch) -> Mapping[str, Tensor]:
        expert.train()
        return losses(expert, taught, batch, course.how, device)

    return TrainTask(
        taught.net,
        optimizer,
        schedule,
        loss,
        lambda: (validate(expert, course.val, device, pool), None),
        lambda at: taught.after_step(at.progress + 1 / (plan.num_steps * plan.epochs)),
        taught.kept,
        lambda at, items: course.train.take(at.epoch, items, pool),
    )


def losses(expert: Expert, taught: Distiller, batch: Batch, how: Preprocess, device: torch.device) -> dict[str, Tensor]:
    """The terms of a batch: cross-entropy of the degraded view, and what the teacher asks."""
    degraded = normalize(batch.degraded, how, device).contiguous()
    answer = expert.answer(degraded, taught.layers)
    y = torch.from_numpy(batch.y).to(device)
    terms = {"cross_entropy": functional.cross_entropy(answer.logits.float(), y)}
    if taught.teacher is not None:
        seen = degraded if taught.sees_the_same else normalize(batch.clean, how, device).contiguous()
        terms["distillation"] = taught.term(answer, seen)
    return terms


def build_optimizer(expert: Expert, net: nn.Module, descent: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW with one rate for the encoder, and one for whatever else learns."""
    encoder = list(expert.vision_encoder.parameters())
    known = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in net.parameters() if id(parameter) not in known]
    groups = (
        (encoder, descent.encoder_learning_rate, descent.encoder_weight_decay),
        (rest, descent.head_learning_rate, descent.head_weight_decay),
    )
    return torch.optim.AdamW(
        [
            {"params": [it for it in parameters if it.requires_grad], "lr": lr, "weight_decay": decay}
            for parameters, lr, decay in groups
        ]
    )


def lr_schedule(num_steps: int, warm_up: float):
    """From a step to its share of the learning rate: up in a line, then down along half a cosine."""
    rising = max(round(warm_up * num_steps), 1)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return (cos(pi * min((step - rising) / max(num_steps - rising, 1), 1)) + 1) / 2

    return share


@torch.inference_mode()
def validate(expert: Expert, val: TrainDataset, device: torch.device, pool: ThreadPoolExecutor) -> dict[str, float]:
    """AUROC on validation, of clean and of degraded images, which are the same after every epoch."""
    expert.eval()
    scores: dict[str, list[np.ndarray]] = {"clean": [], "degraded": []}
    for places in np.array_split(np.arange(len(val)), -(-len(val) // 64)):
        batch = val.take(-1, places, pool)
        for view, found in scores.items():
            pixels = normalize(getattr(batch, view), val.how, device).contiguous()
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                found.append(p_generated(expert(pixels)).cpu().numpy())
    y = val.images["label"].to_numpy()
    return {f"val_auroc_{view}": auroc(rank(y, np.concatenate(found))) for view, found in scores.items()}


def _config_hash(about: object) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
