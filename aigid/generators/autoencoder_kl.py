"""The autoencoder of a latent diffusion model: load, save, train, and reconstruct images (DDA, SEF: domain R)."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.models.resnet import ResnetBlock2D
from diffusers.utils import logging
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.features import checkpoints
from aigid.generators import GeneratorTrainingSettings, StepSettings
from aigid.generators.training import Recipe, Tiles, train

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
FULL_CHECKPOINT_PREFIX = "first_stage_model."  # of the autoencoder's keys in a diffusion model's checkpoint
LATENTS, KL_WEIGHT = 8, 1e-4  # of the small autoencoder
LEVEL, NOISE, LOG_VARIANCE = 10.0, 0.02, -6.0  # at the start of training
PLAIN = Recipe(hflip=False, betas=(0.9, 0.999), warmup_fraction=0.3, num_threads=None)


class VaeReconstruction(nn.Module):
    """Encodes an image, samples the posterior, and decodes the sample."""

    def __init__(self, network: AutoencoderKL, seed: int) -> None:
        super().__init__()
        self.network, self.seed = network.eval().requires_grad_(False), seed
        config = json.loads(json.dumps(network.config))  # no tuples
        self.architecture = {key: value for key, value in config.items() if not key.startswith("_")}
        self.size_multiple = _reduction(network)

    def forward(self, images: Tensor, digests: list[str]) -> Tensor:
        """Map (B, 3, H, W) in [0, 1] to about [0, 1]; each posterior's noise is seeded by its image's sha256."""
        posterior = self.network.encode(2 * images - 1).latent_dist
        seeds = [seeding.derive_seed("posterior", self.seed, digest) for digest in digests]
        latents = posterior.mean + posterior.std * _noise(seeds, posterior.mean)
        return (self.network.decode(latents).sample + 1) / 2


def load(weights_path: Path | str | None, model: str = "", revision: str | None = None) -> AutoencoderKL:
    """Return the autoencoder of ``weights_path``, else of the hub's repository ``model``, in evaluation mode.

    A path is a folder in diffusers' format, or with such a folder ``vae``, or one file, ``.safetensors`` or torch's:
    in diffusers' format, with a ``config.json`` in its folder or of Stable Diffusion's shape, or in that of CompVis.
    InputError that names missing, unexpected and misshapen keys: none is filled in at random.
    """
    logging.set_verbosity_error()
    if weights_path is not None:
        return _from_path(Path(weights_path)).eval()
    at = f" at {revision}" if revision else ""
    files = f"vae/{CONFIG} and vae/diffusion_pytorch_model.safetensors of {model}{at}"
    with checkpoints.hub_errors(f"the autoencoder of {model}", files):
        return _load_strict(model, subfolder="vae", revision=revision).eval()


def load_generator(
    weights_path: str | None, model: str, revision: str | None, scaling_factor: float, seed: int
) -> VaeReconstruction:
    """Return the generator of aligned fakes; InputError as ``load``, and for another ``scaling_factor``."""
    network = load(weights_path, model, revision)
    if network.config.scaling_factor != scaling_factor:
        actual = f"an autoencoder of scaling factor {network.config.scaling_factor:g}"
        raise InputError(f"weights {weights_path or model}: {actual}, want {scaling_factor:g}")
    return VaeReconstruction(network, seed)


def folder_of(folder: Path) -> Path:
    """Return the folder of an autoencoder's files: ``folder``, or its ``vae`` where it is a diffusers pipeline's."""
    return folder / "vae" if (folder / "vae" / CONFIG).is_file() else folder


def save(network: AutoencoderKL, folder: Path) -> None:
    """Write an autoencoder in the format of diffusers, completely or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as part:
        network.to(memory_format=torch.contiguous_format).save_pretrained(Path(part, "vae"))
        shutil.rmtree(folder, ignore_errors=True)
        Path(part, "vae").rename(folder)


def require_divisible(network: AutoencoderKL, size: int, name: str = "cnn.size") -> None:
    """Raise InputError unless the autoencoder returns an image of ``size`` px at that size."""
    if size % (factor := _reduction(network)):
        raise InputError(f"{name}={size}: the VAE shrinks by {factor}, which does not divide it")


@torch.inference_mode()
def reconstruct(
    network: AutoencoderKL, images: NDArray[np.uint8], seeds: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return images (N, S, S, 3) uint8 through the autoencoder and back, (N, S, S, 3) float32 in about [-1, 1].

    The latent is the posterior's mode, or with ``seeds`` (one per image) a sample of it.
    """
    pixels = torch.from_numpy(images).to(network.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    posterior = network.encode(pixels).latent_dist
    latents = posterior.mode()
    if seeds is not None:
        latents = latents + posterior.std * _noise(seeds, latents)
    return np.asarray(network.decode(latents).sample.permute(0, 2, 3, 1).float().cpu().numpy())


def _reduction(network: AutoencoderKL) -> int:
    return int(2 ** (len(network.config.block_out_channels) - 1))


def _noise(seeds: Sequence[int], like: Tensor) -> Tensor:  # on the CPU, whatever the device
    shape = like.shape[1:]
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(like)


def _from_path(path: Path) -> AutoencoderKL:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        if path.is_dir():
            path = folder_of(path)
            if not (path / CONFIG).is_file():
                message = f"holds no {CONFIG}, want an autoencoder's folder as diffusers writes it"
                raise InputError(f"weights {path}: {message}")
            return _load_strict(str(path))
        config_path = path.parent / CONFIG
        config = AutoencoderKL.load_config(config_path) if config_path.is_file() else STABLE_DIFFUSION
        network = AutoencoderKL.from_config(config)
        state = _convert_old_keys(checkpoints.read(path), network.config)
        checkpoints.load_strict(path, state, checkpoints.shapes(network))
        network.load_state_dict(state)
        return network.float()


def _load_strict(source: str, **options: object) -> AutoencoderKL:
    """Return an autoencoder all of whose weights come from the folder or repository."""
    config = AutoencoderKL.load_config(source, **options)
    if config.get("_class_name") != "AutoencoderKL":
        raise InputError(f"weights {source}: a {config.get('_class_name')}, want an AutoencoderKL")
    network, info = AutoencoderKL.from_pretrained(
        source, **options, low_cpu_mem_usage=False, ignore_mismatched_sizes=True, output_loading_info=True
    )
    shape_mismatches = [key for key, *_ in info["mismatched_keys"]]
    checkpoints.check(source, info["missing_keys"], info["unexpected_keys"], shape_mismatches)
    return network.float()


def _convert_old_keys(state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Rename CompVis' and old diffusers' keys to today's."""
    if any(key.startswith(FULL_CHECKPOINT_PREFIX) or ".down.0.block." in key for key in state):
        state = convert_ldm_vae_checkpoint(state, config)
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(KEY_MAP)})\.")
    return {old.sub(lambda match: f"{match[1]}.{KEY_MAP[match[2]]}.", key): value for key, value in state.items()}


class _Trainable(nn.Module):
    """An AutoencoderKL and its loss: L1 and a little KL, ``per_latent`` or per pixel value."""

    adversarial = 0.0

    def __init__(self, network: AutoencoderKL, kl_weight: float, per_latent: bool) -> None:
        super().__init__()
        self.network, self.kl_weight, self.per_latent = network, kl_weight, per_latent

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.network.encode(real).latent_dist
        fake = self.network.decode(posterior.sample()).sample
        num = (posterior.mean if self.per_latent else real)[0].numel()
        return fake, functional.l1_loss(fake, real) + self.kl_weight * posterior.kl().mean() / num


def _small(width: int) -> _Trainable:
    """Return an autoencoder that halves twice; one group per normalization, so that brightness is preserved."""
    channels = max(width // 2, LATENTS)
    network = AutoencoderKL(
        block_out_channels=(channels, channels, max(width, LATENTS)),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENTS,
        norm_num_groups=1,
        mid_block_add_attention=False,
    )
    _start_near_identity(network)
    return _Trainable(network, KL_WEIGHT, per_latent=True)


@torch.no_grad()
def _start_near_identity(network: AutoencoderKL) -> None:
    """Initialize to downscale and upscale the image, which takes hundreds of steps to learn.

    Residual branches are silent; all other convolutions pass channels on, of which two hold ``+-LEVEL`` throughout: a
    normalization then divides by about the same for every image, and what follows it is all but linear.
    """
    for block in network.modules():
        if isinstance(block, ResnetBlock2D):
            for parameter in block.conv2.parameters():
                parameter.zero_()
    for name, layer in network.named_modules():
        if name.endswith(("conv_in", "conv_out", "conv_shortcut", "samplers.0.conv", "quant_conv")):
            _identity_conv(layer, pooled=name.endswith("downsamplers.0.conv"))
    for part in (network.encoder, network.decoder):
        deviation = LEVEL * (2 / part.conv_norm_out.num_channels) ** 0.5
        part.conv_in.weight[3:5] = 0
        part.conv_in.bias[3], part.conv_in.bias[4] = LEVEL, -LEVEL
        part.conv_out.weight *= 2 * deviation  # silu(x) is about x / 2
    network.quant_conv.weight[LATENTS:] = 0
    network.quant_conv.bias[LATENTS:] = LOG_VARIANCE


def _identity_conv(layer: Any, pooled: bool) -> None:
    """Map channel to channel, with a little noise that makes the others differ."""
    layer.weight.normal_(std=NOISE)
    layer.weight[:, 3:5] = 0
    layer.bias.zero_()
    middle = layer.kernel_size[0] // 2
    window, value = (slice(2), 0.25) if pooled else (slice(middle, middle + 1), 1)
    for channel in range(min(layer.weight.shape[:2])):
        layer.weight[channel, channel, window, window] += value


def train_vae(tiles: Tiles, settings: GeneratorTrainingSettings, out: Path) -> None:
    """Train a generator on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a folder of diffusers'."""
    save(train(lambda: _small(settings.width), tiles, settings, "fit vae", settings.seed).network, out)


def fit_autoencoder(
    tiles: Tiles, settings: StepSettings, config: dict[str, Any], kl_weight: float, seed: int
) -> AutoencoderKL:
    """Train the autoencoder of a ``config`` of diffusers' on tiles (N, S, S, 3) uint8."""
    build = partial(_Trainable, kl_weight=kl_weight, per_latent=False)
    return train(lambda: build(AutoencoderKL(**config)), tiles, settings, "vae", seed, recipe=PLAIN).network.eval()
