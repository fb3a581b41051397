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
    return nn.Conv2d(settings.num_planes, old.out_channels, size, settings.stem_stride, size // 2, bias=bias)


# The side channels of an image, as 8-bit pictures beside its pixels.

Pixels = np.ndarray


def luma(image: Pixels) -> Pixels:
    """(S, S, 3) uint8 to (S, S) uint8 by Rec. 601, as Pillow's mode "L"."""
    return np.asarray(Image.fromarray(image).convert("L"))


def log_magnitude_spectrum(image: Pixels, wrap: bool = False) -> Pixels:
    """The spectrum of an image (S, S, 3) uint8: 20 ln |F| of its luma, lowest frequency in the middle, (S, S) uint8.

    Values beyond 0 to 255 are clipped; with ``wrap`` they are taken modulo 256, as in the published code.
    """
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(luma(image).astype(np.float64))))
    levels = 20 * np.log(magnitude + 1e-8)
    if wrap:
        return (np.trunc(levels).astype(np.int64) % 256).astype(np.uint8)
    return np.clip(levels, 0, 255).astype(np.uint8)


def reconstruction_error(image: Pixels, remade: np.ndarray, offset: bool = False) -> Pixels:
    """What an autoencoder gets wrong, (S, S) uint8: the luma of e/2, e = |x - x'| with pixels on the scale -1 to 1.

    ``image`` (S, S, 3) uint8, ``remade`` (S, S, 3) float32 in about [-1, 1]. With ``offset`` the published e/2 + 1/2.
    """
    wrong = np.abs(image.astype(np.float32) / 127.5 - 1 - remade) / 2 + (0.5 if offset else 0)
    return luma((np.clip(wrong, 0, 1) * 255).astype(np.uint8))
