"""A loaded backbone: pixels in, embeddings out, and a fingerprint of all that decides them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from aigid.errors import InputError
from aigid.features import weights
from aigid.features.backbones import BackboneSettings


class Backbone:
    """One frozen tower on a device: square uint8 images in, embeddings of width ``dim`` out.

    It always encodes ``batch`` images at a time, the last ones padded: a matrix product's last bits depend on its size,
    and an image's embedding must not depend on its company.
    """

    def __init__(self, settings: BackboneSettings, device: torch.device, batch: int = 1) -> None:
        self.settings = settings = _as_it_lies(settings)
        self.device = device
        self.batch = batch
        self.tower = _load(settings).requires_grad_(False).eval()
        self.weights_sha256 = weights.sha256_of(self.tower)
        self.weights_files = weights.hashes(settings.weights)
        self.tower.to(device)
        scale = torch.tensor([settings.preprocess.mean, settings.preprocess.std], device=device) * 255
        self._mean, self._std = scale.view(2, 1, 3, 1, 1)
        size = settings.preprocess.size
        self.dim = self.encode(np.zeros((1, size, size, 3), np.uint8)).shape[1]

    @property
    def fingerprint(self) -> str:
        """Equal for two backbones that give one image the same embedding, wherever their weights came from."""
        facts = self.settings.model_dump(mode="json", exclude={"pretrained", "revision", "weights", "seed"})
        return hashlib.sha256(json.dumps([facts, self.weights_sha256], sort_keys=True).encode()).hexdigest()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """(N, S, S, 3) uint8 to (N, D) float32, not L2-normalised."""
        starts = range(0, len(images), self.batch)
        return np.concatenate([self._encode(images[start : start + self.batch]) for start in starts])

    @torch.inference_mode()
    def _encode(self, images: np.ndarray) -> np.ndarray:
        padded = np.zeros((self.batch, *images.shape[1:]), np.uint8)
        padded[: len(images)] = images
        pixels = torch.from_numpy(padded).to(self.device).permute(0, 3, 1, 2).float()
        return self.tower((pixels - self._mean) / self._std)[: len(images)].float().cpu().numpy()


def choose_device(name: str) -> torch.device:
    """The device of that name; ``auto`` takes CUDA, then Apple's MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"AIGID_DEVICE={name!r}: {str(error).splitlines()[0]}") from None
    return device


def _as_it_lies(settings: BackboneSettings) -> BackboneSettings:
    """A CLIP whose local snapshot is in transformers' format is loaded by transformers."""
    folder = Path(settings.weights or "/dev/null")
    known = {name for name in ("config.json", "open_clip_config.json") if (folder / name).is_file()}
    return settings.model_copy(update={"library": "transformers"}) if known == {"config.json"} else settings


def _load(settings: BackboneSettings) -> nn.Module:
    if settings.high_pass and (settings.config is None or settings.weights is not None):
        raise InputError(f"{settings.model}: high_pass is for towers of random weights, built from a config")
    if settings.library == "open_clip":
        from aigid.features import open_clip as library
    else:
        from aigid.features import transformers as library
    tower = library.load(settings)
    if settings.high_pass:
        patches = next(module for module in tower.modules() if isinstance(module, nn.Conv2d))
        with torch.no_grad():
            patches.weight -= patches.weight.mean(dim=(2, 3), keepdim=True)
    return tower
