"""SRGAN's generators, which spandrel does not know: the classic one, and BasicSR's without batch normalisation."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, UnsupportedModelError
from spandrel.util import KeyCondition, get_seq_len
from torch import Tensor, nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.features import checkpoints

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
        return self.conv_last(_leaky(self.conv_hr(x))) + functional.interpolate(
            small, scale_factor=self.scale, mode="bilinear"
        )


class ResidualBlock(nn.Module):
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
    def __init__(self, width: int) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
        self.rcb = nn.Sequential(
            convolutions[0], nn.BatchNorm2d(width), nn.PReLU(), convolutions[1], nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rcb(x)


class PixelShuffleUpsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample_block(x)


class MsrganArchitecture(Architecture[Msrgan]):
    """How spandrel tells and loads BasicSR's and mmsr's MSRResNet."""

    def __init__(self) -> None:
        bodies = KeyCondition.has_any("body.0.conv1.weight", "recon_trunk.0.conv1.weight")
        super().__init__(
            id="MSRGAN", detect=KeyCondition.has_all("conv_first.weight", "upconv1.weight", "conv_last.weight", bodies)
        )

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[Msrgan]:
        """The network whose shape the tensors tell."""
        state = {_sorted_by(MMSR, key): value for key, value in state_dict.items()}
        width, channels = state["conv_first.weight"].shape[:2]
        scale = 4 if "upconv2.weight" in state else round((len(state["upconv1.weight"]) / width) ** 0.5)
        network = Msrgan(width, get_seq_len(state, "body"), scale, channels)
        return _described(self, network, state, scale, channels)


class SrganArchitecture(Architecture[Srgan]):
    """How spandrel tells and loads the classic SRGAN."""

    def __init__(self) -> None:
        heads = KeyCondition.has_any("conv1.0.weight", "conv_block1.0.weight")
        super().__init__(id="SRGAN", detect=KeyCondition.has_all("trunk.0.rcb.0.weight", heads))

    def load(self, state_dict: Mapping[str, Tensor]) -> ImageModelDescriptor[Srgan]:
        """The network whose shape the tensors tell."""
        state = {re.sub("^conv_block", "conv", key): value for key, value in state_dict.items()}
        width, channels = state["conv1.0.weight"].shape[:2]
        scale = 2 ** get_seq_len(state, "upsampling")
        network = Srgan(width, get_seq_len(state, "trunk"), scale)
        return _described(self, network, state, scale, channels)


def spandrel_registry() -> ArchRegistry:
    """The architectures that spandrel knows, and these."""
    known = MAIN_REGISTRY.copy()
    known.add(*(ArchSupport.from_architecture(one) for one in (MsrganArchitecture(), SrganArchitecture())))
    return known


def _described(
    architecture: Architecture, network: nn.Module, state: dict[str, Tensor], scale: int, channels: int
) -> ImageModelDescriptor:
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


def _leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def _sorted_by(names: dict[str, str], key: str) -> str:
    for old, new in names.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


# Domain G: photographs shrunken and enlarged again by a super-resolution GAN (SEF).

SCALE = 4
ARCHITECTURES = "an SRGAN, MSRGAN, ESRGAN or another that spandrel knows"


class SuperResolution(nn.Module):
    """Shrinks a photograph by ``SCALE`` and lets the network enlarge it."""

    def __init__(self, descriptor: ImageModelDescriptor) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.network = descriptor.model.eval().requires_grad_(False)
        self.architecture = {"name": descriptor.architecture.id, "tags": descriptor.tags}
        self.multiple = SCALE

    def forward(self, photographs: Tensor, digests: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] to [0, 1]; there is no chance in it."""
        return self.descriptor(downsample(photographs).contiguous())


def downsample(photographs: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to a quarter of the sides: bicubic, antialiased, stored in 8 bits as networks expect."""
    small = functional.interpolate(photographs, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def load(weights_path: str | None) -> SuperResolution:
    """Return the generator in a file of weights; InputError where it enlarges by another factor than ``SCALE``."""
    if weights_path is None:
        raise InputError(
            f"domain gan has no weights of its own: --weights names those of a {SCALE}x network, {ARCHITECTURES}"
        )
    path = Path(weights_path)
    checkpoints.require_file(path)
    if path.is_dir():
        raise InputError(f"weights {path}: a folder, want one file")
    state = checkpoints.read(path)
    with checkpoints.checkpoint_errors(path):
        try:
            descriptor = spandrel_registry().load(state)
        except UnsupportedModelError:
            raise InputError(f"weights {path}: of no known network, want {ARCHITECTURES}") from None
    if not isinstance(descriptor, ImageModelDescriptor) or (descriptor.input_channels, descriptor.output_channels) != (
        3,
        3,
    ):
        raise InputError(f"weights {path}: a {descriptor.architecture.id} that maps no RGB image to another")
    if descriptor.scale != SCALE:
        raise InputError(
            f"weights {path}: an {descriptor.architecture.id} that enlarges by {descriptor.scale}, want {SCALE}"
        )
    return SuperResolution(descriptor)
