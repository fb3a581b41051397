"""Data-parallel training in processes that ``torchrun`` starts; in a single process everything here does nothing."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name

T = TypeVar("T")
LOST_CONNECTION = re.compile("Connection (closed|reset) by peer|remote (worker|process)")
TIMEOUT = timedelta(hours=2)  # to wait for the other processes


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes of ``torchrun``, if it started this one; give the device of this process.

    NCCL between CUDA devices, gloo otherwise. Each process takes the CUDA device of its local rank, unless
    ``$AIGID_DEVICE`` names one.
    """
    name = device_name()
    if "LOCAL_RANK" in os.environ and name == "auto" and torch.cuda.is_available():
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    device = choose_device(name)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield device
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield device
    except RuntimeError as error:
        if not LOST_CONNECTION.search(str(error)):
            raise
        raise SystemExit(f"process {rank()} of {world_size()}: another one has ended") from None  # and says why
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Return the number of this process; only 0 writes and prints."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast(network: nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if world_size() > 1:
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)


def all_reduce_sum(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one message for each dtype."""
    if world_size() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.flatten() for tensor in group])
        distributed.all_reduce(flat)
        for tensor, total in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(total.view_as(tensor))


def gather_rows(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    """Concatenate (n, ...) of all processes, of which each has as many rows as ``sizes`` says; without gradients."""
    if world_size() == 1:
        return tensor
    padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def gather_objects(value: T) -> list[T]:
    """Return the values of all processes, in their order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


class _Mean(torch.autograd.Function):
    """The mean over all processes, which is its own adjoint: gradients of all their losses flow back to each."""

    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        all_reduce_sum([total])
        return total / world_size()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Mean.forward(context, gradient)


def barrier() -> None:
    """Wait for all processes."""
    if world_size() > 1:
        distributed.barrier()


def check_same_on_all_ranks(values: tuple[int, ...], name: str, device: torch.device) -> None:
    """Raise InputError in every process unless ``values`` are equal in all."""
    if world_size() == 1:
        return
    local = torch.tensor(values, device=device)
    gathered = [torch.empty_like(local) for _ in range(world_size())]
    distributed.all_gather(gathered, local)
    if any((other != local).any() for other in gathered):
        processes = f"all {world_size()} processes"
        raise InputError(f"{name}: not the same to {processes}; it must lie where all of them can read it")


def sync_batch_norm() -> AbstractContextManager[object]:
    """Let batch norms within the context take the statistics of all processes' equal shares, as of a single batch.

    PyTorch's ``SyncBatchNorm`` refuses tensors on a CPU, and would need other layers for timm's norms with activations.
    """
    return _SyncBatchNormMode() if world_size() > 1 else nullcontext()


class _SyncBatchNormMode(TorchFunctionMode):
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
    """Compute `torch.nn.functional.batch_norm` of all processes' (B, C, ...) together; return the local rows."""
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
    local, mean = mean, _Mean.apply(mean)
    var = _Mean.apply(var + (local - mean).square())
    if running_mean is not None and running_var is not None:
        num = world_size() * x.numel() / x.shape[1]
        running_mean.lerp_(mean.detach().to(running_mean), momentum)
        running_var.lerp_(var.detach().to(running_var) * num / (num - 1), momentum)
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean * scale
    column = (-1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(column), wide, scale.view(column)).to(x.dtype)
