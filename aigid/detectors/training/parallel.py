"""Several processes that train one network, as ``torchrun`` starts them; alone, everything here does nothing."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from aigid.base.errors import InputError
from aigid.base.files import device_name
from aigid.device import choose_device

PATIENCE = timedelta(hours=2)  # of a process whose fellows are still busy


@contextmanager
def processes() -> Iterator[torch.device]:
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
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process; 0 writes and speaks for all."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def broadcast(network: nn.Module) -> None:
    """Give every process the parameters and buffers of process 0."""
    if world() > 1:
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, 0)


def average(tensors: Iterable[Tensor]) -> None:
    """Make each tensor the mean of its fellows in all processes, in one message for each type."""
    if world() == 1:
        return
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for group in by_type.values():
        flat = torch.cat([tensor.flatten() for tensor in group])
        distributed.all_reduce(flat)
        for tensor, mean in zip(group, (flat / world()).split([tensor.numel() for tensor in group]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def gather(tensor: Tensor) -> Tensor:
    """(B, ...) of every process below each other, (world x B, ...), for losses that compare a batch's images.

    Gradients flow back to each process's own. What all compute alike of the gathered, ``average`` makes the gradient
    of one process with the whole batch.
    """
    if world() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world())]
    distributed.all_gather(parts, tensor.detach().contiguous())
    parts[rank()] = own = tensor.view_as(tensor)
    if own.requires_grad:
        own.register_hook(lambda gradient: world() * gradient)  # as if every process's loss sent its own here
    return torch.cat(parts)


class _Mean(torch.autograd.Function):
    """Its own adjoint."""

    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        mean = tensor.clone()
        average([mean])
        return mean

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Mean.forward(context, gradient)


def mean(tensor: Tensor) -> Tensor:
    """The mean of a tensor and its fellows in all processes, for what each then computes of its own images.

    Gradients of all processes' losses flow back to each; ``average`` makes them that of one with the whole batch.
    """
    return _Mean.apply(tensor)


def share(whole: Tensor) -> Tensor:
    """This process's (B, ...) of the (world x B, ...) that process 0 has."""
    if world() == 1:
        return whole
    distributed.broadcast(whole, 0)
    return whole.chunk(world())[rank()]


def wait() -> None:
    """Until every process has come here."""
    if world() > 1:
        distributed.barrier()


def require_same(place: tuple[int, ...], what: str, device: torch.device) -> None:
    """InputError in every process unless ``place`` is equal in all."""
    if world() == 1:
        return
    mine = torch.tensor(place, device=device)
    every = [torch.empty_like(mine) for _ in range(world())]
    distributed.all_gather(every, mine)
    if any((other != mine).any() for other in every):
        raise InputError(f"{what}: not the same to all {world()} processes; it must lie where all of them can read it")
