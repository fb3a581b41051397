"""The autoencoder whose errors are a channel: published weights, or a tiny one trained on photographs."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.base.errors import InputError
from aigid.base.params import Settings

WEIGHTS = "diffusion_pytorch_model.safetensors"
TINY = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
}


class VaeSettings(Settings):
    """Where the VAE comes from: ``weights``, ``repository``, or training on the photographs of ``train``."""

    train: str
    weights: str | None = None  # a local folder in the format of diffusers
    repository: str | None = None  # of the hub; its folder ``vae`` is taken
    revision: str | None = None
    size: Annotated[int, Field(ge=8)] = 32  # px of the tiles trained on
    config: dict[str, Any] = TINY  # of diffusers' AutoencoderKL
    steps: Annotated[int, Field(ge=1)] = 300
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    kl_weight: Annotated[float, Field(ge=0)] = 1e-5


def obtain(settings: VaeSettings, manifest: pd.DataFrame, root: Path, seed: int) -> Any:
    """The VAE (diffusers' ``AutoencoderKL``); InputError where it can be had neither from the disk nor from the hub."""
    if settings.weights is not None:
        return load(Path(settings.weights))
    if settings.repository is not None:
        return _from_hub(settings)
    from aigid.detectors.cnn.vae_training import fit

    return fit(settings, manifest, root, seed)


def folder_of(folder: Path) -> Path:
    """Where a VAE's files lie: in the folder itself, or, of a whole pipeline, in its folder ``vae``."""
    return folder / "vae" if (folder / "vae" / "config.json").is_file() else folder


def load(folder: Path) -> Any:
    """The VAE that lies in a folder, or in its folder ``vae``."""
    from diffusers import AutoencoderKL

    how = {"local_files_only": True, "use_safetensors": True, "low_cpu_mem_usage": False}
    try:
        return AutoencoderKL.from_pretrained(folder_of(folder), **how).eval()
    except (OSError, ValueError) as failure:
        reason = str(failure).splitlines()[0]
        raise InputError(f"{folder}: no VAE in the format of diffusers with safetensors: {reason}") from None


def save(vae: Any, folder: Path) -> None:
    """Write the VAE, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as part:
        vae.save_pretrained(Path(part, "vae"), safe_serialization=True)
        shutil.rmtree(folder, ignore_errors=True)
        Path(part, "vae").rename(folder)


def require_divisible(vae: Any, size: int, what: str = "cnn.size") -> None:
    """InputError unless the VAE gives an image of ``size`` px back at that size."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1)
    if size % factor:
        raise InputError(f"{what}={size}: the VAE shrinks by {factor}, which does not divide it")


def remake(vae: Any, images: np.ndarray, seeds: list[int] | None = None) -> np.ndarray:
    """Images (N, S, S, 3) uint8 through the VAE and back, (N, S, S, 3) float32 in about [-1, 1].

    The latent is the posterior's mode, or with ``seeds`` (one an image) a sample of it.
    """
    import torch

    with torch.inference_mode():
        pixels = torch.from_numpy(images).to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        posterior = vae.encode(pixels).latent_dist
        latent = posterior.mode()
        if seeds is not None:
            noise = [torch.randn(latent.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            latent = latent + posterior.std * torch.stack(noise).to(latent)
        return vae.decode(latent).sample.permute(0, 2, 3, 1).float().cpu().numpy()


def _from_hub(settings: VaeSettings) -> Any:
    from diffusers import AutoencoderKL

    try:
        return AutoencoderKL.from_pretrained(
            settings.repository, subfolder="vae", revision=settings.revision, use_safetensors=True
        ).eval()
    except Exception as failure:  # the hub's client raises a dozen kinds
        reason = str(failure).splitlines()[0]
        raise InputError(
            f"vae.repository={settings.repository!r}: {reason}; vae.weights names a local folder"
        ) from None
