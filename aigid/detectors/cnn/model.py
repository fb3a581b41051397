"""The network: any of timm's, with a stem for as many channels as there are."""

from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from aigid.core.errors import InputError
from aigid.detectors.cnn.settings import CnnSettings


def build_model(settings: CnnSettings, num_classes: int) -> nn.Module:
    """Return (B, C, S, S) to (B, ``num_classes``), whose first convolution is initialized anew, as in NYCU's code."""
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
    setattr(net.get_submodule(above), last, _new_conv(net.get_submodule(name), settings))
    return net.to(memory_format=torch.channels_last)


def _stem(net: Any, settings: CnnSettings) -> str:
    named = net.pretrained_cfg.get("first_conv")
    name = named if isinstance(named, str) else ""
    if not name or not isinstance(net.get_submodule(name), nn.Conv2d):
        raise InputError(f"cnn.model={settings.model!r}: its first layer is no single convolution")
    return name


def _new_conv(old: nn.Conv2d, settings: CnnSettings) -> nn.Conv2d:
    size = old.kernel_size[0]
    bias = old.bias is not None
    return nn.Conv2d(settings.num_channels, old.out_channels, size, settings.stem_stride, size // 2, bias=bias)


Pixels = np.ndarray  # of the network's 8-bit channels


def luma(image: Pixels) -> Pixels:
    """(S, S, 3) uint8 to (S, S) uint8 by Rec. 601, as Pillow's mode "L"."""
    return np.asarray(Image.fromarray(image).convert("L"))


def log_magnitude_spectrum(image: Pixels, wrap: bool = False) -> Pixels:
    """Return 20 ln |F| (S, S) uint8 of the luma of an image (S, S, 3) uint8, lowest frequency in the middle.

    Values beyond 0 to 255 are clipped; with ``wrap`` they are taken modulo 256, as in the published code.
    """
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luma(image).astype(np.float64))))
    levels = 20 * np.log(magnitude + 1e-8)
    if wrap:
        return (np.trunc(levels).astype(np.int64) % 256).astype(np.uint8)
    return np.clip(levels, 0, 255).astype(np.uint8)


def reconstruction_error(image: Pixels, reconstruction: np.ndarray, offset: bool = False) -> Pixels:
    """Return an autoencoder's error, (S, S) uint8: the luma of e/2, e = |x - x'| with pixels on the scale -1 to 1.

    ``image`` (S, S, 3) uint8, ``reconstruction`` (S, S, 3) float32 in about [-1, 1].
    With ``offset`` the published e/2 + 1/2.
    """
    wrong = np.abs(image.astype(np.float32) / 127.5 - 1 - reconstruction) / 2 + (0.5 if offset else 0)
    return luma((np.clip(wrong, 0, 1) * 255).astype(np.uint8))
