"""The network, any of timm's with a stem for as many channels as there are, and its training."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from sklearn.metrics import f1_score
from torch import nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.detectors.cnn.data import ChannelView
from aigid.detectors.cnn.settings import CnnSettings
from aigid.training import distributed, loop
from aigid.training.distributed import sync_batch_norm
from aigid.training.loop import StepInfo, TrainConfig, TrainTask

EVAL_BATCH = 256
MIN_BATCH = 16  # images at once: of fewer a convolution's last bits differ on a CPU, which moves scores by 4e-6
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", "val_loss", "val_acc", "val_f1_macro")


def build_model(settings: CnnSettings, num_classes: int) -> nn.Module:
    """Return (B, C, S, S) to (B, ``num_classes``), whose first convolution is initialized anew, as in NYCU's code."""
    overlay = {"file": settings.weights} if settings.weights else None
    try:
        net: Any = timm.create_model(
            settings.model, pretrained=settings.pretrained, num_classes=num_classes, pretrained_cfg_overlay=overlay
        )
    except RuntimeError as failure:
        raise InputError(f"cnn.model={settings.model!r}: {str(failure).splitlines()[0]}") from None
    except Exception as failure:  # the hub's client raises a dozen kinds
        reason = str(failure).splitlines()[0]
        raise InputError(f"cnn.model={settings.model!r}: its weights: {reason}; cnn.weights names a file") from None
    name = net.pretrained_cfg.get("first_conv")
    stem = net.get_submodule(name) if isinstance(name, str) and name else None
    if not isinstance(stem, nn.Conv2d):
        raise InputError(f"cnn.model={settings.model!r}: its first layer is no single convolution")
    size, channels = stem.kernel_size[0], settings.num_channels
    fresh = nn.Conv2d(channels, stem.out_channels, size, settings.stem_stride, size // 2, bias=stem.bias is not None)
    net.set_submodule(name, fresh)
    network: nn.Module = net.to(memory_format=torch.channels_last)
    return network


def train(
    net: nn.Module, settings: CnnSettings, train: ChannelView, val: ChannelView, seed: int, checkpoint: Path
) -> list[dict[str, float]]:
    """Give ``net`` the weights of the epoch with the best validation macro-F1; return its log, ``LOG_COLUMNS``."""
    config = plan(settings, len(train), seed)
    log = loop.train(config, training_task(net, settings, config, train, val), checkpoint)
    if distributed.rank() == 0:
        checkpoint.unlink(missing_ok=True)
    return log


def plan(settings: CnnSettings, num_items: int, seed: int) -> TrainConfig:
    """Return the length of the training."""
    mixed = settings.precision == "mixed"
    return TrainConfig("cnn", seed, num_items, settings.batch_size, settings.epochs, settings.accumulate_steps, mixed)


def training_task(
    net: nn.Module, settings: CnnSettings, plan: TrainConfig, train: ChannelView, val: ChannelView
) -> TrainTask:
    """Return the task: cross-entropy of the classes, the epoch chosen by macro-F1.

    Processes that share a batch train as one would with all of it, but for drop-out, if the network has any.
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    optimizer = kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    device = next(net.parameters()).device

    def make_batch(at: StepInfo, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return train.take(indices), train.y[indices]

    def loss(at: StepInfo, batch: tuple[np.ndarray, np.ndarray]) -> dict[str, torch.Tensor]:
        net.train(at.epoch == 0 or "frozen_after_first_epoch" not in settings.compat)
        pictures, y = batch
        pixels = to_float(pictures, device)
        if settings.hflip:
            turned = distributed.per_rank(torch.rand(distributed.world_size() * len(y)).to(device)) < 0.5
            pixels[turned] = pixels[turned].flip(-1)
        with sync_batch_norm():
            logits = net(pixels)
        return {"cross_entropy": functional.cross_entropy(logits, torch.from_numpy(y).to(device))}

    def validate() -> tuple[dict[str, float], float]:
        (logits,) = predict(net, val, np.arange(len(val)))
        f1 = float(f1_score(val.y, logits.argmax(1), average="macro"))
        val_loss = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.y)))
        return {"val_loss": val_loss, "val_acc": float((logits.argmax(1) == val.y).mean()), "val_f1_macro": f1}, f1

    return TrainTask(net, optimizer, _schedule(optimizer, settings, plan), loss, validate, make_batch=make_batch)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: CnnSettings, plan: TrainConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    total = plan.num_steps * plan.epochs + 1
    rise = max(0.2, 1.5 / total)  # which takes a step at least
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total, pct_start=rise)


@torch.inference_mode()
def predict(net: nn.Module, samples: ChannelView, indices: np.ndarray, hflip_tta: bool = False) -> np.ndarray:
    """Return logits (1, n, K) float32 of images; ``hflip_tta`` adds those of their mirror images, (2, n, K)."""
    net.eval()
    device, outputs = next(net.parameters()).device, []
    for start in range(0, len(indices), EVAL_BATCH):
        block = indices[start : start + EVAL_BATCH]
        pixels = to_float(samples.take(np.resize(block, max(len(block), MIN_BATCH))), device)
        logits = [net(view)[: len(block)] for view in ([pixels, pixels.flip(-1)] if hflip_tta else [pixels])]
        outputs.append(torch.stack(logits).float().cpu().numpy())
    return np.concatenate(outputs, axis=1)


def to_float(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """(n, C, S, S) uint8 to float32 in [-1, 1] on the device, channels last."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).to(device, memory_format=torch.channels_last)
    return pixels.float() / 127.5 - 1
