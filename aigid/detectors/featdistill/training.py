"""Stage 1 and stage 2 of an expert, as tasks of the training loop."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aigid.core.cache import checkpoint_path
from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, load, save
from aigid.detectors.featdistill.data import Batch, TrainDataset, policy_definition, select_rows
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill
from aigid.detectors.featdistill.losses import Distiller, build_distiller, cross_entropy
from aigid.detectors.featdistill.model import Expert, build, lr_schedule, p_generated, parameter_groups
from aigid.detectors.featdistill.settings import FeatDistillSettings, OptimizerSettings, SecondView, Stage2Settings
from aigid.features import lora
from aigid.features.encoder import normalize
from aigid.features.preprocess import Preprocess
from aigid.features.vit import get_block
from aigid.metrics.classification import auroc, rank
from aigid.training import distributed, loop, prior
from aigid.training.checkpoints import refuse_other_definitions
from aigid.training.task import StepInfo, TrainConfig, TrainTask, Validation

REVISION = 2  # of the training's result; raise it when equal settings give other weights than before
NAME = "featdistill"


class StageRun:
    """Everything about one stage of one expert: its images, its settings, and the name of its checkpoint."""

    def __init__(
        self, settings: FeatDistillSettings, name: str, stage: int, manifest: pd.DataFrame, root: Path, seed: int
    ) -> None:
        self.expert, self.name, self.stage = settings.experts[name], name, stage
        self.descent: OptimizerSettings = settings.stage1 if stage == 1 else settings.stage2
        self.preprocess: Preprocess = self.expert.backbone.preprocess
        data, self.seed = settings.data, self.expert.seed + 1000 * seed
        aligned = isinstance(self.descent, Stage2Settings) and self.descent.preserve_spatial_alignment

        def open_split(split: str, num: int | None, second: SecondView) -> TrainDataset:
            rows = select_rows(manifest, split, num, seed)
            return TrainDataset(rows, root, data, self.preprocess, self.seed, stage, aligned, second)

        self.train = open_split("train", data.max_images, self.descent.second)
        self.val = open_split("val", data.max_val_images, "clean")
        self._check_queue(settings.stage2)
        self.config: dict[str, Any] = {
            "revision": REVISION,
            "expert": self.expert.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            "policy": policy_definition(data),
            f"stage{stage}": self.descent.model_dump(mode="json"),
            "seed": seed,
            "images": _config_hash([self.train.images[["sha256", "label"]].to_numpy().tolist()]),
        }

    def _check_queue(self, stage2: Stage2Settings) -> None:
        """Raise InputError, before stage 1 is trained, where an image would be contrasted with itself in every step."""
        if stage2.mode == "crd_ema" and (stage2.queue or 0) > (num := len(self.train)):
            raise InputError(f"featdistill.stage2.queue: {stage2.queue} embeddings of {num} images; want at most {num}")

    @property
    def identity(self) -> dict[str, object]:
        """All of ``config`` but the policy, of which a checkpoint says what it is; and how adapters are named there."""
        adapters = {"adapters": lora.REVISION} if self.expert.lora else {}
        return {name: value for name, value in self.config.items() if name != "policy"} | adapters

    @property
    def definitions(self) -> Mapping[str, object]:
        """What the policy is, if there is one."""
        return self.config["policy"] or {}

    @property
    def fingerprint(self) -> str:
        """Of all that decides what comes of stage 1; of stage 2 together with its start."""
        return _config_hash(self.config)

    def plan(self) -> TrainConfig:
        """Return the length of the training; embeddings of a whole step are contrasted at once."""
        descent, name = self.descent, f"featdistill {self.name} stage {self.stage}"
        whole_step = isinstance(descent, Stage2Settings) and descent.mode == "crd_ema"
        size = min(descent.batch_size, len(self.train))
        sizes = len(self.train), size, descent.epochs, size if whole_step else 1
        precision, max_norm = descent.precision, descent.max_norm
        return TrainConfig(
            name, self.seed, *sizes, precision=precision, max_norm=max_norm, definitions=self.definitions
        )


def train(
    stage_run: StageRun, expert: Expert, device: torch.device, start: object = ""
) -> tuple[list[dict[str, float]], Path]:
    """Train the expert in place; return the log, a row an epoch, and the checkpoint, to be unlinked when all is safe.

    In stage 2 the expert as it comes is the teacher; ``start`` is the identity of its stage 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage_run.seed)
        if stage_run.expert.lora:
            lora.inject(expert.vision_encoder, stage_run.expert.lora, stage_run.seed)
        if stage_run.expert.gradient_checkpointing:  # activations are computed again on the way back
            lora.enable_gradient_checkpointing(expert.vision_encoder)
        distiller = build_distiller(expert.to(device), stage_run.descent, len(stage_run.train))
        plan = stage_run.plan()
        path = checkpoint_path(plan.name, [stage_run.identity, start])
        log = loop.train(plan, training_task(stage_run, plan, expert, distiller), path)
    if stage_run.expert.lora:
        lora.merge_parametrizations(expert.vision_encoder)
    expert.eval()
    return log, path


def training_task(stage_run: StageRun, plan: TrainConfig, expert: Expert, distiller: Distiller) -> TrainTask:
    """Return the task of a stage; no epoch is chosen, validation only goes into the log."""
    optimizer = torch.optim.AdamW(parameter_groups(expert, distiller.net, stage_run.descent))
    shares = lr_schedule(plan.num_steps * plan.epochs, stage_run.descent.warmup_fraction)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shares)
    prior_loss = prior.prior_loss(stage_run.train.images["label"])

    def outputs(at: StepInfo, batch: Batch) -> tuple[Tensor, ...]:
        return forward(expert.train(), distiller, batch, stage_run.preprocess)

    def loss(at: StepInfo, results: Sequence[Tensor]) -> dict[str, Tensor]:
        return losses(distiller, *results)

    return TrainTask(
        distiller.net,
        optimizer,
        schedule,
        loss if distiller.whole_step else lambda at, batch: loss(at, outputs(at, batch)),
        validation(expert, stage_run.val, {prior.COLUMN: prior_loss}),
        outputs if distiller.whole_step else None,
        after_step=lambda at: distiller.after_step(at.progress + 1 / (plan.num_steps * plan.epochs)),
        extra_state=distiller.extra_state,
        read=stage_run.train.take,
    )


def forward(expert: Expert, distiller: Distiller, batch: Batch, preprocess: Preprocess) -> tuple[Tensor, ...]:
    """Return logits of the degraded view, labels, and the features that are compared."""
    device = next(expert.parameters()).device
    y, dropout_mask = (torch.as_tensor(field).to(device, non_blocking=True) for field in (batch.y, batch.dropout_mask))
    degraded = normalize(batch.degraded, preprocess, device)
    answer = expert.answer(degraded, distiller.layers, dropout_mask)
    if distiller.teacher is None:
        return answer.logits, y
    seen = degraded if batch.second is None else normalize(batch.second, preprocess, device)
    return answer.logits, y, *distiller.features(answer, seen)


def losses(distiller: Distiller, logits: Tensor, y: Tensor, *features: Tensor) -> dict[str, Tensor]:
    """Return the terms of what ``forward`` gave: cross-entropy, and distillation."""
    terms = {"cross_entropy": cross_entropy(logits, y.long())}
    return terms if distiller.teacher is None else terms | {"distillation": distiller.term(features)}


def validation(expert: Expert, val: TrainDataset, logged: Mapping[str, float]) -> Validation:
    """Return validation by AUROC of clean and of degraded images, the same after every epoch; ``logged`` beside it."""
    y, device = val.images["label"].to_numpy(), next(expert.parameters()).device

    def predict(batch: Batch) -> Tensor:
        expert.eval()
        assert batch.second is not None
        views = (normalize(pixels, val.preprocess, device) for pixels in (batch.second, batch.degraded))
        return torch.stack([p_generated(expert(pixels)) for pixels in views], dim=1)

    def metrics(scores: np.ndarray) -> tuple[dict[str, float], None]:
        aurocs = (auroc(rank(y, column)) for column in scores.T)
        return {**logged, **dict(zip(("val_auroc_clean", "val_auroc_degraded"), aurocs, strict=True))}, None

    item_bytes = 6 * val.preprocess.size**2
    return Validation(len(val), item_bytes, lambda items: val.take(-1, items), predict, metrics)


def check_layers(expert: Expert, stage2: Stage2Settings, name: str) -> None:
    """Raise InputError, before stage 1 is trained, where stage 2 would compare layers that the encoder has not."""
    try:
        for layer in stage2.layers if stage2.mode == "l2" else ():
            get_block(expert.vision_encoder, layer)
    except InputError as error:
        raise InputError(f"featdistill.stage2.layers: expert {name}: {error}") from None


def _config_hash(config: object) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def train_stage(
    settings: FeatDistillSettings,
    name: str,
    manifest: pd.DataFrame,
    root: Path,
    seed: int,
    out: Path,
    start: Path | None = None,
) -> pd.DataFrame | None:
    """Train stage 1 of an expert into its folder, or stage 2 from the folder ``start`` of stage 1.

    Return the log, a row an epoch, or None but in process 0. InputError where stage 1 has other settings.
    """
    first = StageRun(settings, name, 1, manifest, root, seed)
    stage_run, expected = first, ""
    if start is not None:
        stage_run, expected = StageRun(settings, name, 2, manifest, root, seed), first.fingerprint
        member = _load_stage1(start, name, first)
    with distributed.process_group() as device:
        expert = build(settings.experts[name]) if start is None else member.load()
        check_layers(expert, settings.stage2, name)
        log, checkpoint = train(stage_run, expert, device, "" if start is None else first.identity)
        if distributed.rank():
            return None
    detector = FeatDistill({name: EnsembleMember(stage_run.expert, lambda: expert)}, half=start is not None)
    fingerprint = first.fingerprint if start is None else _config_hash([stage_run.config, expected])
    save(Bundle(NAME, detector, stage_run.config, [fingerprint]), out)
    checkpoint.unlink(missing_ok=True)
    return pd.DataFrame(log)


def _load_stage1(folder: Path, name: str, first: StageRun) -> EnsembleMember:
    model = load(folder)
    members = model.detector.members if isinstance(model.detector, FeatDistill) else {}
    if list(members) != [name]:
        raise InputError(f"{folder}: holds {model.name} {', '.join(members)}, want the expert {name}")
    if model.fingerprints != [first.fingerprint]:
        if model.settings.get("data") == first.config["data"]:
            refuse_other_definitions(folder, model.settings.get("policy") or {}, first.definitions)
        reason = "other settings, images or seed"
        raise InputError(f"{folder}: stage 1 was trained with {reason} than these; train it anew")
    return members[name]
