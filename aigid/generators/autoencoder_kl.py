"""The autoencoder of a latent diffusion model: its one loader, and images through it and back (DDA, SEF: domain R)."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.utils import logging
from torch import Tensor, nn

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.features import checkpoints

CONFIG = "config.json"
STABLE_DIFFUSION: dict[str, Any] = {  # of versions 1 and 2, for checkpoints that come as one file
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
}
KEY_MAP = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # diffusers before 0.15
FULL_CHECKPOINT_PREFIX = (
    "first_stage_model."  # before the autoencoder's keys in the checkpoint of a whole diffusion model
)


class VaeReconstruction(nn.Module):
    """Encodes a photograph, draws a sample of the posterior, and decodes it."""

    def __init__(self, network: AutoencoderKL, seed: int) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.seed = seed
        plain = json.loads(json.dumps(network.config))  # no tuples
        self.architecture = {key: value for key, value in plain.items() if not key.startswith("_")}
        self.multiple = 2 ** (len(network.config.block_out_channels) - 1)

    def forward(self, photographs: Tensor, digests: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] to about [0, 1]; each posterior's noise is drawn by its photograph's sha256."""
        posterior = self.network.encode(2 * photographs - 1).latent_dist
        noise = torch.stack([self._noise(digest, posterior.mean.shape[1:]) for digest in digests])
        latents = posterior.mean + posterior.std * noise.to(photographs.device)
        return (self.network.decode(latents).sample + 1) / 2

    def _noise(self, digest: str, shape: torch.Size) -> Tensor:
        return _noise(seeding.derive_seed("posterior", self.seed, digest), shape)


def load(weights_path: Path | str | None, model: str = "", revision: str | None = None) -> AutoencoderKL:
    """Return the autoencoder of ``weights_path``, else of the hub's repository ``model``, in evaluation mode.

    A path is a folder in diffusers' format, or with such a folder ``vae``, or one file, ``.safetensors`` or torch's:
    in diffusers' format, with a ``config.json`` beside it or of Stable Diffusion's shape, or in that of CompVis.
    InputError that names the keys which are missing, unexpected or of another shape: none is filled in at random.
    """
    logging.set_verbosity_error()
    if weights_path is not None:
        return _local(Path(weights_path)).eval()
    at = f" at {revision}" if revision else ""
    files = f"vae/{CONFIG} and vae/diffusion_pytorch_model.safetensors of {model}{at}"
    with checkpoints.hub_errors(f"the autoencoder of {model}", files):
        return _load_strict(model, subfolder="vae", revision=revision).eval()


def load_maker(
    weights_path: str | None, model: str, revision: str | None, scaling_factor: float, seed: int
) -> VaeReconstruction:
    """Return what makes the fakes; InputError as ``load``, and for an autoencoder of another ``scaling_factor``."""
    network = load(weights_path, model, revision)
    if network.config.scaling_factor != scaling_factor:
        actual = f"an autoencoder of scaling factor {network.config.scaling_factor:g}"
        raise InputError(f"weights {weights_path or model}: {actual}, want {scaling_factor:g}")
    return VaeReconstruction(network, seed)


def folder_of(folder: Path) -> Path:
    """Return where an autoencoder's files lie: ``folder``, or, of a pipeline of diffusers', its folder ``vae``."""
    return folder / "vae" if (folder / "vae" / CONFIG).is_file() else folder


def save(network: AutoencoderKL, folder: Path) -> None:
    """Write an autoencoder in the format of diffusers, completely or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as part:
        network.to(memory_format=torch.contiguous_format).save_pretrained(Path(part, "vae"))
        shutil.rmtree(folder, ignore_errors=True)
        Path(part, "vae").rename(folder)


def require_divisible(network: AutoencoderKL, size: int, name: str = "cnn.size") -> None:
    """InputError unless the autoencoder returns an image of ``size`` px at that size."""
    factor = 2 ** (len(network.config.block_out_channels) - 1)
    if size % factor:
        raise InputError(f"{name}={size}: the VAE shrinks by {factor}, which does not divide it")


@torch.inference_mode()
def reconstruct(network: AutoencoderKL, images: np.ndarray, seeds: Sequence[int] | None = None) -> np.ndarray:
    """Return images (N, S, S, 3) uint8 through the autoencoder and back, (N, S, S, 3) float32 in about [-1, 1].

    The latent is the posterior's mode, or with ``seeds`` (one per image) a sample of it.
    """
    pixels = torch.from_numpy(images).to(network.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    posterior = network.encode(pixels).latent_dist
    latents = posterior.mode()
    if seeds is not None:
        noise = torch.stack([_noise(seed, latents.shape[1:]) for seed in seeds])
        latents = latents + posterior.std * noise.to(latents)
    return network.decode(latents).sample.permute(0, 2, 3, 1).float().cpu().numpy()


def _noise(seed: int, shape: torch.Size) -> Tensor:
    """Draw on the CPU, whatever the device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _local(path: Path) -> AutoencoderKL:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        if path.is_dir():
            path = folder_of(path)
            if not (path / CONFIG).is_file():
                raise InputError(
                    f"weights {path}: holds no {CONFIG}, want an autoencoder's folder as diffusers writes it"
                )
            return _load_strict(str(path))
        beside = path.parent / CONFIG
        config = AutoencoderKL.load_config(beside) if beside.is_file() else STABLE_DIFFUSION
        network = AutoencoderKL.from_config(config)
        state = _convert_old_keys(checkpoints.read(path), network.config)
        checkpoints.load_strict(path, state, checkpoints.shapes(network))
        network.load_state_dict(state)
        return network.float()


def _load_strict(source: str, **options: object) -> AutoencoderKL:
    """An autoencoder all of whose weights come from the folder or repository."""
    config = AutoencoderKL.load_config(source, **options)
    if config.get("_class_name") != "AutoencoderKL":
        raise InputError(f"weights {source}: a {config.get('_class_name')}, want an AutoencoderKL")
    network, found = AutoencoderKL.from_pretrained(
        source, **options, low_cpu_mem_usage=False, ignore_mismatched_sizes=True, output_loading_info=True
    )
    misshapen = [key for key, *_ in found["mismatched_keys"]]
    checkpoints.check(source, found["missing_keys"], found["unexpected_keys"], misshapen)
    return network.float()


def _convert_old_keys(state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict by diffusers' names of today."""
    if any(key.startswith(FULL_CHECKPOINT_PREFIX) or ".down.0.block." in key for key in state):
        state = convert_ldm_vae_checkpoint(state, config)
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(KEY_MAP)})\.")
    return {old.sub(lambda found: f"{found[1]}.{KEY_MAP[found[2]]}.", key): value for key, value in state.items()}
