"""The network: any of timm's, with a stem for as many channels as there are."""

from typing import Any

import timm
import torch
from torch import nn

from aigid.base.errors import InputError
from aigid.detectors.cnn.settings import CnnSettings


def build(settings: CnnSettings, num_classes: int) -> nn.Module:
    """(B, C, S, S) to (B, ``num_classes``); the first convolution is drawn anew, as NYCU's code does."""
    overlay = {"file": settings.weights} if settings.weights else None
    try:
        net = timm.create_model(
            settings.model, pretrained=settings.pretrained, num_classes=num_classes, pretrained_cfg_overlay=overlay
        )
    except RuntimeError as failure:
        raise InputError(f"cnn.model={settings.model!r}: {str(failure).splitlines()[0]}") from None
    except Exception as failure:  # the hub's client raises a dozen kinds
        reason = str(failure).splitlines()[0]
        raise InputError(f"cnn.model={settings.model!r}: its weights: {reason}; cnn.weights names a file") from None
    name = _stem(net, settings)
    above, _, last = name.rpartition(".")
    setattr(net.get_submodule(above), last, _fresh(net.get_submodule(name), settings))
    return net.to(memory_format=torch.channels_last)


def _stem(net: Any, settings: CnnSettings) -> str:
    named = net.pretrained_cfg.get("first_conv")
    name = named if isinstance(named, str) else ""
    if not name or not isinstance(net.get_submodule(name), nn.Conv2d):
        raise InputError(f"cnn.model={settings.model!r}: its first layer is no single convolution")
    return name


def _fresh(old: nn.Conv2d, settings: CnnSettings) -> nn.Conv2d:
    size = old.kernel_size[0]
    bias = old.bias is not None
    return nn.Conv2d(settings.num_planes, old.out_channels, size, settings.stem_stride, size // 2, bias=bias)
