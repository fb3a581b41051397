"""Several processes that train one network, as ``torchrun`` starts them; alone, everything here does nothing."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name

TIMEOUT = timedelta(hours=2)  # of a process whose fellows are still busy


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes of ``torchrun``, if it started this one; the device of this process.

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
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process; 0 writes and speaks for all."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast(network: nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if world_size() > 1:
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)


def all_reduce_mean(tensors: Iterable[Tensor]) -> None:
    """Make each tensor the mean of its fellows in all processes, in one message for each type."""
    if world_size() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.flatten() for tensor in group])
        distributed.all_reduce(flat)
        for tensor, mean in zip(group, (flat / world_size()).split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def all_gather(tensor: Tensor) -> Tensor:
    """(B, ...) of every process below each other, (world x B, ...), for losses that compare a batch's images.

    Gradients flow back to each process's own. What all compute alike of the gathered, ``average`` makes the gradient
    of one process with the whole batch.
    """
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    parts[rank()] = own = tensor.view_as(tensor)
    if own.requires_grad:
        own.register_hook(lambda gradient: world_size() * gradient)  # as if every process's loss sent its own here
    return torch.cat(parts)


class _Mean(torch.autograd.Function):
    """Its own adjoint."""

    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        mean = tensor.clone()
        all_reduce_mean([mean])
        return mean

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Mean.forward(context, gradient)


def all_reduce_mean_autograd(tensor: Tensor) -> Tensor:
    """The mean of a tensor and its fellows in all processes, for what each then computes of its own images.

    Gradients of all processes' losses flow back to each; ``average`` makes them that of one with the whole batch.
    """
    return _Mean.apply(tensor)


def per_rank(whole: Tensor) -> Tensor:
    """This process's (B, ...) of the (world x B, ...) that process 0 has."""
    if world_size() == 1:
        return whole
    distributed.broadcast(whole, 0)
    return whole.chunk(world_size())[rank()]


def barrier() -> None:
    """Until every process has come here."""
    if world_size() > 1:
        distributed.barrier()


def check_same_on_all_ranks(place: tuple[int, ...], what: str, device: torch.device) -> None:
    """InputError in every process unless ``place`` is equal in all."""
    if world_size() == 1:
        return
    mine = torch.tensor(place, device=device)
    every = [torch.empty_like(mine) for _ in range(world_size())]
    distributed.all_gather(every, mine)
    if any((other != mine).any() for other in every):
        raise InputError(
            f"{what}: not the same to all {world_size()} processes; it must lie where all of them can read it"
        )


# Batch normalisation over the images of all processes, as if one of them had the whole batch.
#
# PyTorch's own ``SyncBatchNorm`` refuses tensors on a CPU, and would need other layers for timm's norms with
# activations.


def sync_batch_norm() -> AbstractContextManager[object]:
    """Within it every layer that trains with batch statistics takes those of all processes' shares, equal in number."""
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
    """`torch.nn.functional.batch_norm` of every process's (B, C, ...) below each other, this process's rows of it."""
    if not training:
        return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    var, mean = torch.var_mean(wide, [0, *range(2, x.ndim)], correction=0)
    own, mean = mean, all_reduce_mean_autograd(mean)
    var = all_reduce_mean_autograd(var + (own - mean).square())
    if running_mean is not None and running_var is not None:
        num = world_size() * x.numel() / x.shape[1]
        running_mean.lerp_(mean.detach().to(running_mean), momentum)
        running_var.lerp_(var.detach().to(running_var) * num / (num - 1), momentum)
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    shift = (0 if bias is None else bias) - mean * scale
    column = (-1, *[1] * (x.ndim - 2))
    return torch.addcmul(shift.view(column), wide, scale.view(column)).to(x.dtype)
