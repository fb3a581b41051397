"""Domain R: photographs through the autoencoder of a latent diffusion model and back (DDA, SEF)."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.utils import logging
from torch import Tensor, nn

from aigid.align.domains import AlignSettings
from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.features import hub, weights

CONFIG = "config.json"
STABLE_DIFFUSION: dict[str, Any] = {  # of versions 1 and 2, for checkpoints that come as one file
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
}
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # diffusers before 0.15
WHOLE_MODEL = "first_stage_model."  # before the autoencoder's keys in the checkpoint of a whole diffusion model


class Reconstruction(nn.Module):
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
        """Drawn on the CPU, whatever the device."""
        chance = torch.Generator().manual_seed(seeding.seed_of("posterior", self.seed, digest))
        return torch.randn(shape, generator=chance)


def load(settings: AlignSettings) -> Reconstruction:
    """The autoencoder of a hub's repository, or of ``weights``.

    They are a folder in diffusers' format, or with such a folder ``vae``, or one file, ``.safetensors`` or torch's:
    in diffusers' format, with a ``config.json`` beside it or of Stable Diffusion's shape, or in that of CompVis.
    """
    logging.set_verbosity_error()
    if settings.weights is None:
        at = f" at {settings.revision}" if settings.revision else ""
        wanted = f"vae/{CONFIG} and vae/diffusion_pytorch_model.safetensors of {settings.model}{at}"
        with hub.loading(f"the autoencoder of {settings.model}", wanted):
            network = _checked(settings.model, subfolder="vae", revision=settings.revision)
    else:
        network = _local(Path(settings.weights))
    name, found = settings.weights or settings.model, network.config.scaling_factor
    if found != settings.scaling_factor:
        raise InputError(
            f"weights {name}: an autoencoder of scaling factor {found:g}, want {settings.scaling_factor:g}"
        )
    return Reconstruction(network, settings.seed)


def _local(path: Path) -> AutoencoderKL:
    hub.require(path)
    with weights.reading(path):
        if path.is_dir():
            path = path / "vae" if (path / "vae" / CONFIG).is_file() else path
            if not (path / CONFIG).is_file():
                raise InputError(
                    f"weights {path}: holds no {CONFIG}, want an autoencoder's folder as diffusers writes it"
                )
            return _checked(str(path))
        beside = path.parent / CONFIG
        config = AutoencoderKL.load_config(beside) if beside.is_file() else STABLE_DIFFUSION
        network = AutoencoderKL.from_config(config)
        state = _renamed(weights.read(path), network.config)
        weights.require(path, state, weights.shapes(network))
        network.load_state_dict(state)
        return network.float()


def _checked(source: str, **options: object) -> AutoencoderKL:
    """An autoencoder all of whose weights come from the folder or repository."""
    config = AutoencoderKL.load_config(source, **options)
    if config.get("_class_name") != "AutoencoderKL":
        raise InputError(f"weights {source}: a {config.get('_class_name')}, want an AutoencoderKL")
    network, found = AutoencoderKL.from_pretrained(
        source, **options, low_cpu_mem_usage=False, ignore_mismatched_sizes=True, output_loading_info=True
    )
    misshapen = [key for key, *_ in found["mismatched_keys"]]
    weights.check(source, found["missing_keys"], found["unexpected_keys"], misshapen)
    return network.float()


def _renamed(state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict by diffusers' names of today."""
    if any(key.startswith(WHOLE_MODEL) or ".down.0.block." in key for key in state):
        state = convert_ldm_vae_checkpoint(state, config)
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(OLD_NAMES)})\.")
    return {old.sub(lambda found: f"{found[1]}.{OLD_NAMES[found[2]]}.", key): value for key, value in state.items()}
