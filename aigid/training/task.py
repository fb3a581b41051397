"""What is trained and how, the contract between a method and the training loop, and the type that it computes in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from aigid.core.errors import InputError
from aigid.core.params import Precision
from aigid.training.loading import Batch, Indices


class StepInfo(NamedTuple):
    """The position of a step in a run."""

    epoch: int
    step: int  # of the epoch
    progress: float  # share of all steps, from 0 to below 1


class Stateful(Protocol):
    """What a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass(frozen=True)
class TrainConfig:
    """The length of a run and how it computes; ``name`` and ``seed`` decide its randomness."""

    name: str
    seed: int
    num_items: int
    batch_size: int  # items to a step, over all passes and processes
    epochs: int
    group_size: int = 1  # of these, how many a loss or batch norms see at once
    images_per_item: int = 1
    norms: bool = False  # whether it is batch norms that see groups
    precision: Precision = "auto"
    max_norm: float | None = None  # to which the gradient of a step is clipped
    definitions: Mapping[str, object] = field(default_factory=dict)  # of its policies and views; see `checkpoints`

    @property
    def step_size(self) -> int:
        """Items that a step has."""
        return min(self.batch_size, self.num_items)

    @property
    def num_steps(self) -> int:
        """Steps of an epoch; the items that fill no step are left out."""
        return max(self.num_items // self.batch_size, 1)

    def check(self, num: int) -> None:
        """Raise InputError where steps cannot be cut into groups, or over ``num`` processes."""
        name, size, group = self.name, self.batch_size, self.group_size
        if size % group:
            raise InputError(f"{name}: batches of {size} cannot be cut into groups of {group}")
        if self.norms and group % num:
            groups = f"batch norms over {group} items cannot be shared by {num} processes"
            raise InputError(f"{name}: {groups}, each of which takes as many")
        if size < num:
            raise InputError(f"{name}: batches of {size} cannot be shared by {num} processes")
        if num > 1 and self.num_items < size:
            raise InputError(f"{name}: {self.num_items} items fill no step of {size}, which processes could share")


@dataclass(frozen=True)
class Validation:
    """What happens after each epoch: the processes share the items; all of them get the metrics of all rows.

    ``read`` and ``predict`` turn items (n,) into a batch, ``item_bytes`` each, and that into rows (n, ...). ``metrics``
    returns, of rows (``num_items``, ...), values for the log and a score: the weights of the epoch with the highest
    score are restored at the end, without scores those of the last.
    """

    num_items: int
    item_bytes: int
    read: Callable[[Indices], Batch]
    predict: Callable[[Batch], Tensor]
    metrics: Callable[[NDArray[Any]], tuple[Mapping[str, float], float | None]]
    block: int = 16  # items at once


@dataclass(frozen=True)
class TrainTask:
    """What is trained, and its loss.

    ``read`` turns an epoch and item numbers (n,) into a tuple of arrays (n, ...); other processes do it ahead of time,
    so it must not use a device or torch's generators, and what it changes is lost. ``loss`` returns terms of a batch,
    each a mean over its items; their sum is minimized. With ``outputs``, tensors (n, ...) of a batch, ``loss`` gets
    those of a group instead. ``extra_state`` is what else a checkpoint holds, such as a moving average that
    ``after_step`` updates.
    """

    net: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler  # goes on by one at each step
    loss: Callable[[StepInfo, Any], Mapping[str, Tensor]]
    validation: Validation | None = None
    outputs: Callable[[StepInfo, Batch], tuple[Tensor, ...]] | None = None
    after_step: Callable[[StepInfo], None] = lambda step_info: None
    extra_state: Mapping[str, Stateful] = field(default_factory=dict)
    read: Callable[[int, Indices], Batch] = lambda epoch, items: (items,)


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
