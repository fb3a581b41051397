"""Domain G: photographs shrunken and enlarged again by a super-resolution GAN (SEF)."""

from pathlib import Path

from spandrel import ImageModelDescriptor, UnsupportedModelError
from torch import Tensor, nn
from torch.nn import functional

from aigid.align.srgan import registry
from aigid.base.errors import InputError
from aigid.features import hub, weights

SCALE = 4
KNOWN = "an SRGAN, MSRGAN, ESRGAN or another that spandrel knows"


class Upsampling(nn.Module):
    """Shrinks a photograph by ``SCALE`` and lets the network enlarge it."""

    def __init__(self, descriptor: ImageModelDescriptor) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.network = descriptor.model.eval().requires_grad_(False)
        self.architecture = {"name": descriptor.architecture.id, "tags": descriptor.tags}
        self.multiple = SCALE

    def forward(self, photographs: Tensor, digests: list[str]) -> Tensor:
        """(B, 3, H, W) in [0, 1] to [0, 1]; there is no chance in it."""
        return self.descriptor(shrink(photographs).contiguous())


def shrink(photographs: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to a quarter of the sides: bicubic, antialiased, stored in 8 bits as networks expect."""
    small = functional.interpolate(photographs, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
    return (small.clamp(0, 1) * 255).round() / 255


def load(weights_path: str | None) -> Upsampling:
    """Return the generator in a file of weights; InputError where it enlarges by another factor than ``SCALE``."""
    if weights_path is None:
        raise InputError(f"domain gan has no weights of its own: --weights names those of a {SCALE}x network, {KNOWN}")
    path = Path(weights_path)
    hub.require(path)
    if path.is_dir():
        raise InputError(f"weights {path}: a folder, want one file")
    state = weights.read(path)
    with weights.reading(path):
        try:
            descriptor = registry().load(state)
        except UnsupportedModelError:
            raise InputError(f"weights {path}: of no known network, want {KNOWN}") from None
    if not isinstance(descriptor, ImageModelDescriptor) or (descriptor.input_channels, descriptor.output_channels) != (
        3,
        3,
    ):
        raise InputError(f"weights {path}: a {descriptor.architecture.id} that maps no RGB image to another")
    if descriptor.scale != SCALE:
        raise InputError(
            f"weights {path}: an {descriptor.architecture.id} that enlarges by {descriptor.scale}, want {SCALE}"
        )
    return Upsampling(descriptor)
