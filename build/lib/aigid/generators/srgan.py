"""Super-resolution GANs (SEF: domain G): SRGAN's generators, which spandrel does not know, and their training."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, UnsupportedModelError
from spandrel.util import KeyCondition, get_seq_len
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.core.files import atomic_write
from aigid.features import checkpoints
from aigid.generators import GeneratorTrainingSettings
from aigid.generators.training import Tiles, train

SCALE = 4
NUM_BLOCKS = 2  # of a network that is trained here
ARCHITECTURES = "an SRGAN, MSRGAN, ESRGAN or another that spandrel knows"
MMSR = {"recon_trunk.": "body.", "HRconv.": "conv_hr."}  # BasicSR's names before 2020


class Msrgan(nn.Module):
    """BasicSR's MSRResNet, a residual on the bilinear enlargement: (B, 3, H, W) -> (B, 3, s H, s W), s = 2, 3 or 4."""

    def __init__(self, width: int, num_blocks: int, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.step = scale, 2 if scale == 4 else scale
        self.conv_first = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(num_blocks)))
        self.upconv1 = nn.Conv2d(width, self.step**2 * width, 3, padding=1)
        if scale == 4:
            self.upconv2 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, channels, 3, padding=1)
        with torch.no_grad():
            self.conv_last.weight *= 0.1  # training starts near the bilinear enlargement

    def forward(self, small: Tensor) -> Tensor:
        x = self.body(_leaky(self.conv_first(small)))
        x = _leaky(functional.pixel_shuffle(self.upconv1(x), self.step))
        if self.scale == 4:
            x = _leaky(functional.pixel_shuffle(self.upconv2(x), 2))
        enlarged = functional.interpolate(small, scale_factor=self.scale, mode="bilinear")
        return self.conv_last(_leaky(self.conv_hr(x))) + enlarged


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


class ResidualBlock(nn.Module):
    """``x + f(x)`` without normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x).relu())


class Srgan(nn.Module):
    """SRResNet (Ledig et al., CVPR 2017), its keys named as in Lornatang/SRGAN-PyTorch."""

    def __init__(self, width: int, num_blocks: int, scale: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*(ResidualBlockBN(width) for _ in range(num_blocks)))
        self.conv2 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.upsampling = nn.Sequential(*(PixelShuffleUpsample(width) for _ in range(scale.bit_length() - 1)))
        self.conv3 = nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, small: Tensor) -> Tensor:
        x = self.conv1(small)
        return self.conv3(self.upsampling(x + self.conv2(self.trunk(x))))


class ResidualBlockBN(nn.Module):
    """``x + f(x)`` with batch normalization."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.rcb = nn.Sequential(first, nn.BatchNorm2d(width), nn.PReLU(), second, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rcb(x)


class PixelShuffleUpsample(nn.Module):
    """Doubles the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample_block(x)


class MsrganArchitecture(Architecture[Msrgan]):
    """Detects and loads BasicSR's and mmsr's MSRResNet, whose shape the tensors tell."""

    def __init__(self) -> None:
        bodies = KeyCondition.has_any("body.0.conv1.weight", "recon_trunk.0.conv1.weight")
        keys = ("conv_first.weight", "upconv1.weight", "conv_last.weight")
        super().__init__(id="MSRGAN", detect=KeyCondition.has_all(*keys, bodies))

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[Msrgan]:
        pattern = re.compile("|".join(f"^{re.escape(old)}" for old in MMSR))
        state = {pattern.sub(lambda match: MMSR[match[0]], key): value for key, value in state_dict.items()}
        width, channels = state["conv_first.weight"].shape[:2]
        scale = 4 if "upconv2.weight" in state else round((len(state["upconv1.weight"]) / width) ** 0.5)
        return _describe(self, Msrgan(width, get_seq_len(state, "body"), scale, channels), state, scale, channels)


class SrganArchitecture(Architecture[Srgan]):
    """Detects and loads the classic SRGAN, whose shape the tensors tell."""

    def __init__(self) -> None:
        heads = KeyCondition.has_any("conv1.0.weight", "conv_block1.0.weight")
        super().__init__(id="SRGAN", detect=KeyCondition.has_all("trunk.0.rcb.0.weight", heads))

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[Srgan]:
        state = {re.sub("^conv_block", "conv", key): value for key, value in state_dict.items()}
        width, channels = state["conv1.0.weight"].shape[:2]
        scale = 2 ** get_seq_len(state, "upsampling")
        return _describe(self, Srgan(width, get_seq_len(state, "trunk"), scale), state, scale, channels)


def _describe(
    architecture: Architecture[Any], network: nn.Module, state: dict[str, Tensor], scale: int, channels: int
) -> ImageModelDescriptor[Any]:
    return ImageModelDescriptor(
        network,
        state,
        architecture=architecture,
        purpose="SR",
        tags=[],
        supports_half=True,
        supports_bfloat16=True,
        scale=scale,
        input_channels=channels,
        output_channels=channels,
    )


def spandrel_registry() -> ArchRegistry:
    """Return the architectures that spandrel knows, and these."""
    registry = MAIN_REGISTRY.copy()
    registry.add(*map(ArchSupport.from_architecture, (MsrganArchitecture(), SrganArchitecture())))
    return registry


class SuperResolution(nn.Module):
    """Downscales an image by ``SCALE`` and lets the network enlarge it; deterministic."""

    def __init__(self, descriptor: ImageModelDescriptor[Any]) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.network = descriptor.model.eval().requires_grad_(False)
        self.architecture = {"name": descriptor.architecture.id, "tags": descriptor.tags}
        self.size_multiple = SCALE

    def forward(self, images: Tensor, digests: list[str]) -> Tensor:
        """Map (B, 3, H, W) in [0, 1] to [0, 1]; ``digests`` are ignored."""
        return self.descriptor(downsample(images).contiguous())


def downsample(images: Tensor) -> Tensor:
    """Return (B, 3, H, W) in [0, 1] at a quarter of the sides: bicubic, antialiased, rounded to 8 bits."""
    small = functional.interpolate(images, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def load(weights_path: str | None) -> SuperResolution:
    """Return the generator in a file of weights; InputError where it enlarges by another factor than ``SCALE``."""
    if weights_path is None:
        message = f"--weights names those of a {SCALE}x network, {ARCHITECTURES}"
        raise InputError(f"domain gan has no weights of its own: {message}")
    path = Path(weights_path)
    checkpoints.require_file(path)
    if path.is_dir():
        raise InputError(f"weights {path}: a folder, want one file")
    state = checkpoints.read(path)
    with checkpoints.checkpoint_errors(path):
        try:
            model = spandrel_registry().load(state)
        except UnsupportedModelError:
            raise InputError(f"weights {path}: of no known network, want {ARCHITECTURES}") from None
    name = model.architecture.id
    if not isinstance(model, ImageModelDescriptor) or (model.input_channels, model.output_channels) != (3, 3):
        raise InputError(f"weights {path}: a {name} that maps no RGB image to another")
    if model.scale != SCALE:
        raise InputError(f"weights {path}: an {name} that enlarges by {model.scale}, want {SCALE}")
    return SuperResolution(model)


class _Trainable(nn.Module):
    """A small MSRGAN between [-1, 1] and itself."""

    adversarial = 0.005

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = Msrgan(width, NUM_BLOCKS, SCALE)

    def loss(self, real: Tensor) -> tuple[Tensor, Tensor]:
        fake = 2 * self.network(downsample((real + 1) / 2)) - 1
        return fake, functional.l1_loss(fake, real)


def train_super_resolution(tiles: Tiles, settings: GeneratorTrainingSettings, out: Path) -> None:
    """Train an SRGAN on tiles (N, S, S, 3) uint8, S a multiple of 4; ``out`` becomes a ``.safetensors`` file."""
    network = train(lambda: _Trainable(settings.width), tiles, settings, "fit sr", settings.seed).network
    with atomic_write(out) as part:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, part)
