"""The type in which a network computes; its weights, gradients and the optimizer's state stay in float32."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from aigid.core.params import Precision

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MIN_SCALE = 1.0  # of the loss under float16; what is not finite there is so at any scale


@contextmanager
def full_precision(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Yield tensors at least in float32, and compute so: in float16 small differences vanish, large exponentials end.

    Half of a unit vector's digits are gone, too, where products are taken in it.
    """
    with torch.autocast(tensors[0].device.type, enabled=False):
        yield [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


class ComputeType:
    """How products are computed on a device, and the scale that keeps gradients within float16's range.

    ``auto`` is float16 on CUDA and float32 elsewhere. ``float32`` means IEEE's everywhere; ``tf32`` rounds factors to
    ten bits on CUDA.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        automatic = "float16" if device.type == "cuda" else "float32"
        self.name = automatic if precision == "auto" else precision
        self.device, self.dtype = device, DTYPES[self.name]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of forward passes and losses."""
        return nullcontext() if self.dtype == torch.float32 else torch.autocast(self.device.type, self.dtype)

    @contextmanager
    def float32_products(self) -> Iterator[None]:
        """Let products of float32 within the context be rounded as ``tf32`` says, whatever the process had before."""
        before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high" if self.name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = self.name == "tf32"
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]

    def lower_scale(self) -> bool:
        """Halve the scale of the loss; return whether there is one that can be lower."""
        if not self.scaler.is_enabled() or (scale := self.scaler.get_scale()) <= MIN_SCALE:
            return False
        self.scaler.update(scale * self.scaler.get_backoff_factor())
        return True
