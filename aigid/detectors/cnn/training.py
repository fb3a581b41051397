"""The network, any of timm's with a stem for as many channels as there are, and its training."""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from sklearn.metrics import f1_score
from timm.layers.conv2d_same import Conv2dSame
from timm.models import adapt_input_conv
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from aigid.core import seeding
from aigid.core.errors import InputError, reason
from aigid.degradations import views
from aigid.detectors.cnn.data import ChannelView
from aigid.detectors.cnn.settings import CnnSettings
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import load_encoder
from aigid.training import distributed, loop, prior
from aigid.training.distributed import sync_batch_norm
from aigid.training.task import StepInfo, TrainConfig, TrainTask, Validation

EVAL_BATCH = 256
MIN_BATCH = 16  # images at once: of fewer a convolution's last bits differ on a CPU, which moves scores by 4e-6
LOG_COLUMNS = ("epoch", "learning_rate", "train_loss", prior.COLUMN, "val_loss", "val_acc", "val_f1_macro")


def build_model(settings: CnnSettings, num_classes: int) -> nn.Module:
    """Return (B, C, S, S) to (B, ``num_classes``), whose first convolution takes as many channels as there are."""
    net = _create(settings, num_classes)
    if isinstance(settings.pretrained, str):
        _load_backbone(net, settings.model, settings.pretrained)
    name = net.pretrained_cfg.get("first_conv")
    stem = net.get_submodule(name) if isinstance(name, str) and name else None
    if not isinstance(stem, nn.Conv2d):
        raise InputError(f"cnn.model={settings.model!r}: its first layer is no single convolution")
    net.set_submodule(name, _new_stem(stem, settings))
    network: nn.Module = net.to(memory_format=torch.channels_last)
    return network


def _create(settings: CnnSettings, num_classes: int) -> Any:
    """Return timm's network for three channels, of random weights, or of those of the hub or a file."""
    overlay = {"file": settings.weights} if settings.weights else None
    options: dict[str, Any] = {"pretrained": settings.pretrained is True, "pretrained_cfg_overlay": overlay}
    try:
        return timm.create_model(settings.model, num_classes=num_classes, **options)
    except RuntimeError as failure:
        raise InputError(f"cnn.model={settings.model!r}: {reason(failure)}") from None
    except Exception as failure:  # the hub's client raises a dozen kinds
        why = f"its weights: {reason(failure)}; cnn.weights names a file"
        raise InputError(f"cnn.model={settings.model!r}: {why}") from None


def _load_backbone(net: Any, model: str, name: str) -> None:
    """Give a network all weights of a backbone but the classifier's; InputError where that is another network."""
    backbone = backbone_settings(name)
    if not isinstance(backbone, BackboneSettings) or (backbone.library, backbone.model) != ("timm", model):
        raise InputError(f"cnn.pretrained={name!r}: want a backbone that is timm's {model}, as cnn.model says")
    keys = net.load_state_dict(load_encoder(backbone).state_dict(), strict=False)
    classifier = net.get_submodule(prefix := net.pretrained_cfg["classifier"])
    missing = [key for key in keys.missing_keys if not key.startswith(f"{prefix}.")]
    checkpoints.check(name, missing, keys.unexpected_keys)
    nn.init.normal_(classifier.weight, std=0.01)  # timm's start, for training from scratch, has a loss of 5
    nn.init.zeros_(classifier.bias)


def _new_stem(old: nn.Conv2d, settings: CnnSettings) -> nn.Conv2d:
    """Return the first convolution for all channels: random, as in NYCU's code, or adapted from that of RGB.

    timm's adaptation repeats the filters over the channels, times 3 / channels, which keeps the scale of its output.
    """
    shape = settings.num_channels, old.out_channels, old.kernel_size[0], settings.stem_stride
    if settings.stem == "random":
        return nn.Conv2d(*shape, old.kernel_size[0] // 2, bias=old.bias is not None)
    padding: dict[str, Any] = (
        {} if isinstance(old, Conv2dSame) else {"padding": old.padding}
    )  # Conv2dSame pads as TensorFlow does
    stem = type(old)(*shape, bias=old.bias is not None, **padding)
    with torch.no_grad():
        stem.weight.copy_(adapt_input_conv(settings.num_channels, old.weight))
        if stem.bias is not None and old.bias is not None:
            stem.bias.copy_(old.bias)
    return stem


def train(
    net: nn.Module, settings: CnnSettings, train: ChannelView, val: ChannelView, seed: int, checkpoint: Path
) -> list[dict[str, float]]:
    """Give ``net`` the weights of the epoch with the best validation macro-F1; return its log, ``LOG_COLUMNS``."""
    config = plan(settings, net, len(train), seed)
    if not train.sampled:
        train.source.keep_in_memory([train.request(number) for number in range(len(train))])
    log = loop.train(config, training_task(net, settings, config, train, val), checkpoint)
    if distributed.rank() == 0:
        checkpoint.unlink(missing_ok=True)
    return log


def plan(settings: CnnSettings, net: nn.Module, num_items: int, seed: int) -> TrainConfig:
    """Return the length of the training; what batch norms see at once is no matter of the machine."""
    norms = any(isinstance(layer, _BatchNorm) for layer in net.modules())
    size = (settings.norm_batch_size or settings.batch_size) if norms else 1
    sizes = num_items, settings.batch_size, settings.epochs, size
    definitions = {name: views.to_dict(name) for name in settings.views if name != "clean"}
    return TrainConfig("cnn", seed, *sizes, norms=norms, precision=settings.precision, definitions=definitions)


def training_task(
    net: nn.Module, settings: CnnSettings, plan: TrainConfig, train: ChannelView, val: ChannelView
) -> TrainTask:
    """Return the task: cross-entropy of the classes, the epoch chosen by macro-F1.

    Processes that share a batch train as one would with all of it, but for drop-out, if the network has any.
    """
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    optimizer = kind(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    device = next(net.parameters()).device

    def read(epoch: int, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pictures = train.take(indices, epoch)
        if settings.hflip:
            flips = [seeding.derive_seed("cnn hflip", plan.seed, epoch, int(index)) % 2 == 1 for index in indices]
            pictures[flips] = pictures[flips][..., ::-1]
        return pictures, train.y[indices]

    def loss(at: StepInfo, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        net.train(at.epoch == 0 or "frozen_after_first_epoch" not in settings.compat)
        with sync_batch_norm():
            logits = net(to_float(batch[0], device))
        return {"cross_entropy": functional.cross_entropy(logits.float(), batch[1].to(device, non_blocking=True))}

    def metrics(logits: np.ndarray) -> tuple[dict[str, float], float]:
        f1 = float(f1_score(val.y, logits.argmax(1), average="macro"))
        val_loss = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(val.y)))
        values = {prior.COLUMN: prior.prior_loss(train.y), "val_loss": val_loss}
        return values | {"val_acc": float((logits.argmax(1) == val.y).mean()), "val_f1_macro": f1}, f1

    validation = Validation(
        len(val), settings.num_channels * settings.size**2,
        lambda items: (val.take(items),), lambda batch: predict(net, batch[0])[0], metrics, EVAL_BATCH,
    )  # fmt: skip
    return TrainTask(net, optimizer, _schedule(optimizer, settings, plan), loss, validation, read=read)


def _schedule(
    optimizer: torch.optim.Optimizer, settings: CnnSettings, plan: TrainConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    total = plan.num_steps * plan.epochs + 1
    rise = max(0.2, 1.5 / total)  # which takes a step at least
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total, pct_start=rise)


@torch.inference_mode()
def predict(net: nn.Module, pictures: np.ndarray | torch.Tensor, hflip_tta: bool = False) -> torch.Tensor:
    """Return logits (1, n, K) float32 of channels (n, C, S, S) uint8; ``hflip_tta`` adds those mirrored, (2, n, K)."""
    net.eval()
    num, device = len(pictures), next(net.parameters()).device
    pixels = to_float(pictures[np.resize(np.arange(num), max(num, MIN_BATCH))], device)
    logits = [net(view)[:num] for view in ([pixels, pixels.flip(-1)] if hflip_tta else [pixels])]
    return torch.stack(logits).float().cpu()


def to_float(pictures: np.ndarray | torch.Tensor, device: torch.device) -> torch.Tensor:
    """(n, C, S, S) uint8 to float32 in [-1, 1] on the device, channels last."""
    pixels = pictures if isinstance(pictures, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(pictures))
    pixels = pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    return pixels.float() / 127.5 - 1
