"""Batch normalisation over the images of all processes, as if one of them had the whole batch.

PyTorch's own ``SyncBatchNorm`` refuses tensors on a CPU, and would need other layers for timm's norms with activations.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from aigid.detectors.training import parallel


def whole_batch() -> AbstractContextManager[object]:
    """Within it every layer that trains with batch statistics takes those of all processes' shares, equal in number."""
    return _WholeBatch() if parallel.world() > 1 else nullcontext()


class _WholeBatch(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (batch_norm if function is functional.batch_norm else function)(*args, **kwargs or {})


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`torch.nn.functional.batch_norm` of every process's (B, C, ...) below each other, this process's rows of it."""
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
    own, mean = mean, parallel.mean(mean)
    var = parallel.mean(var + (own - mean).square())
    if running_mean is not None and running_var is not None:
        num = parallel.world() * x.numel() / x.shape[1]
        running_mean.lerp_(mean.detach().to(running_mean), momentum)
        running_var.lerp_(var.detach().to(running_var) * num / (num - 1), momentum)
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean * scale
    column = (-1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(column), wide, scale.view(column)).to(x.dtype)
