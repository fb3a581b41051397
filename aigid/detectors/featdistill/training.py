"""Stage 1 and stage 2 of an expert, as tasks of the training loop."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aigid.core.cache import checkpoint_path
from aigid.core.errors import InputError
from aigid.detectors.bundle import Bundle, load, save
from aigid.detectors.featdistill.data import Batch, TrainDataset, policy_definition, select_rows
from aigid.detectors.featdistill.detector import EnsembleMember, FeatDistill
from aigid.detectors.featdistill.losses import Distiller, build_distiller, cross_entropy
from aigid.detectors.featdistill.model import Expert, build, p_generated
from aigid.detectors.featdistill.settings import FeatDistillSettings, OptimizerSettings, SecondView, Stage2Settings
from aigid.features import lora
from aigid.features.encoder import normalize
from aigid.features.preprocess import Preprocess
from aigid.features.vit import get_block
from aigid.metrics.classification import auroc, rank
from aigid.training import distributed, loop, prior
from aigid.training.task import StepInfo, TrainConfig, TrainTask, Validation

REVISION = 2  # of the training's result; raise it when equal settings give other weights than before
NAME = "featdistill"
TOKENS = re.compile("embed|token|position|rel_pos|probe|latent")  # in a parameter's own name: no weight of a layer


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
        self.config = {
            "revision": REVISION,
            "expert": self.expert.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            "policy": policy_definition(data),
            f"stage{stage}": self.descent.model_dump(mode="json"),
            "seed": seed,
            "images": _config_hash([self.train.images[["sha256", "label"]].to_numpy().tolist()]),
        }

    @property
    def fingerprint(self) -> str:
        """Of all that decides what comes of stage 1; of stage 2 together with its start."""
        return _config_hash(self.config)

    def plan(self, whole_step: bool = False) -> TrainConfig:
        """Return the length of the training, whose loss is of the ``whole_step`` at once or of each image alone."""
        descent, name = self.descent, f"featdistill {self.name} stage {self.stage}"
        size = min(descent.batch_size, len(self.train))
        sizes = len(self.train), size, descent.epochs, size if whole_step else 1
        return TrainConfig(name, self.seed, *sizes, precision=descent.precision, max_norm=descent.max_norm)


def train(
    stage_run: StageRun, expert: Expert, device: torch.device, start: str = ""
) -> tuple[list[dict[str, float]], Path]:
    """Train the expert in place; return the log, a row an epoch, and the checkpoint, to be unlinked when all is safe.

    In stage 2 the expert as it comes is the teacher; ``start`` is the fingerprint of its stage 1.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage_run.seed)
        if stage_run.expert.lora:
            lora.inject(expert.vision_encoder, stage_run.expert.lora, stage_run.seed)
        if stage_run.expert.gradient_checkpointing:  # activations are computed again on the way back
            lora.enable_gradient_checkpointing(expert.vision_encoder)
        distiller = build_distiller(expert.to(device), stage_run.descent, len(stage_run.train))
        plan = stage_run.plan(distiller.whole_step)
        path = checkpoint_path(plan.name, [stage_run.config, start])
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


def parameter_groups(expert: Expert, net: nn.Module, descent: OptimizerSettings) -> list[dict[str, Any]]:
    """Return AdamW's groups: of the encoder, and of whatever else learns, first what decays, then what does not.

    Weights of linear layers and convolutions decay; biases, norms, scales, embeddings and tokens do not.
    """
    embeddings = {id(layer.weight) for layer in net.modules() if isinstance(layer, nn.Embedding)}
    in_encoder = {id(value) for value in expert.vision_encoder.parameters()}
    learning = [(name.rpartition(".")[2], value) for name, value in net.named_parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = []
    for is_encoder, rate, decay in (
        (True, descent.encoder_learning_rate, descent.encoder_weight_decay),
        (False, descent.head_learning_rate, descent.head_weight_decay),
    ):
        part = [(name, value) for name, value in learning if (id(value) in in_encoder) == is_encoder]
        free = [value.ndim < 2 or id(value) in embeddings or bool(TOKENS.search(name)) for name, value in part]
        for is_free in (False, True):
            values = [value for (_, value), known in zip(part, free, strict=True) if known == is_free]
            groups.append({"params": values, "lr": rate, "weight_decay": 0.0 if is_free else decay})
    return [group for group in groups if group["params"]]


def lr_schedule(num_steps: int, warm_up: float) -> Callable[[int], float]:
    """Return a step's share of the learning rate as a function: a linear warm-up, then half a cosine."""
    rising = max(round(warm_up * num_steps), 1)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return (cos(pi * min((step - rising) / max(num_steps - rising, 1), 1)) + 1) / 2

    return share


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
        log, checkpoint = train(stage_run, expert, device, expected)
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
        data, policy = (model.settings.get(key) == first.config[key] for key in ("data", "policy"))
        reason = "an older definition of its policy" if data and not policy else "other settings, images or seed"
        raise InputError(f"{folder}: stage 1 was trained with {reason} than these; train it anew")
    return members[name]
