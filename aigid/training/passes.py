"""The gradient of a step, put together from as many passes as the machine needs: the way it is cut changes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress
from typing import NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from aigid.core.errors import InputError
from aigid.core.files import batch_size
from aigid.training import distributed
from aigid.training.loading import Batch, Indices, num_items, select
from aigid.training.task import ComputeType, StepInfo, TrainConfig, TrainTask

T = TypeVar("T")
Terms = dict[str, Tensor]


class Passes:
    """Cuts the items of a step among processes, and each process's share into passes of at most ``size`` items.

    ``size`` is ``$AIGID_BATCH`` images, else all of the share, halved where memory is too small. Items that belong
    together (``group_size``) may be parted: if the loss is one of a group's outputs, these are collected from all
    passes and processes first, and the passes are done again for the gradient. Where they are seen by batch norms
    instead, a pass is a group, of which each process has an equal part.
    """

    def __init__(self, config: TrainConfig, task: TrainTask, compute: ComputeType) -> None:
        self.config, self.task, self.compute = config, task, compute
        self.fixed = config.norms
        size = max((batch_size() or 0) // config.images_per_item, 1) if batch_size() else config.batch_size
        self.size = config.group_size // distributed.world_size() if self.fixed else size
        config.check(distributed.world_size())

    @property
    def parted(self) -> bool:
        """Whether processes share a group."""
        return self.config.batch_size // self.config.group_size < distributed.world_size()

    def share(self, num: int, rank: int | None = None) -> Indices:
        """Return which of a step's ``num`` items a process computes, by default this one."""
        numbers, world = np.arange(num), distributed.world_size()
        rank = distributed.rank() if rank is None else rank
        groups = np.split(numbers, range(self.config.group_size, num, self.config.group_size))
        if self.fixed:
            return np.concatenate([np.array_split(group, world)[rank] for group in groups])
        if self.parted:
            return np.array_split(numbers, world)[rank]
        first = np.array_split(np.arange(len(groups)), world)[rank]
        return np.concatenate([groups[number] for number in first])

    def backward(self, step_info: StepInfo, batch: Batch, num: int, seed: Callable[[], object]) -> Terms:
        """Add up the gradient of this process's share of ``num`` items; return its part of each term of the loss.

        The sum of both over the processes is that of the whole step. ``seed`` sets the random numbers of its passes.
        """

        def compute() -> Terms:
            whole_groups = not self.parted and self.size >= self.config.group_size
            gathered = self.task.outputs is not None and not whole_groups
            return (self._gathered if gathered else self._separate)(step_info, batch, num, seed)

        return self._fitting(compute)

    def _fitting(self, compute: Callable[[], T]) -> T:
        """Return the result, computed in smaller passes until they fit into memory."""
        while True:
            try:
                return compute()
            except torch.OutOfMemoryError:
                if self.fixed or self.size == 1:
                    self._raise_too_large()
            self.size = min(self.size, self.config.batch_size) // 2 or 1
            if self.compute.device.type == "cuda":
                torch.cuda.empty_cache()

    def _raise_too_large(self) -> NoReturn:
        items = f"{self.size} item{'s' if self.size > 1 else ''} ({self.size * self.config.images_per_item} images)"
        raise InputError(f"{self.config.name}: {self.compute.device} has too little memory for {items} at once")

    def _cut(self, batch: Batch) -> Iterator[tuple[slice, Batch]]:
        """Yield the passes of a share; those that hold whole groups end with one."""
        size, group = self.size, self.config.group_size
        size -= size % group if size >= group and not self.fixed else 0
        for start in range(0, num_items(batch), size):
            part = slice(start, start + size)
            yield part, select(batch, part)

    def _separate(self, step_info: StepInfo, batch: Batch, num: int, seed: Callable[[], object]) -> Terms:
        """Do the passes one after the other: each has all that its loss is of."""
        total: Terms = {}
        self.task.net.zero_grad()
        seed()
        for _, part in self._cut(batch):
            with self.compute.autocast():
                if self.task.outputs is None:
                    terms = _scaled(self.task.loss(step_info, part), num_items(part) / num)
                else:
                    terms = self._losses(step_info, self.task.outputs(step_info, part), num)
                loss = torch.stack(list(terms.values())).sum()
            self.compute.scaler.scale(loss).backward()
            _add(total, {name: term.detach() for name, term in terms.items()})
        return total

    def _losses(self, step_info: StepInfo, outputs: Sequence[Tensor], num: int) -> Terms:
        """Return the terms of the groups of outputs (n, ...), as parts of the mean over ``num`` items."""
        total: Terms = {}
        for group in zip(*(output.split(self.config.group_size) for output in outputs), strict=True):
            _add(total, _scaled(self.task.loss(step_info, group), len(group[0]) / num))
        return total

    def _gathered(self, step_info: StepInfo, batch: Batch, num: int, seed: Callable[[], object]) -> Terms:
        """Collect the outputs of all passes and processes, and take the loss's gradient back through the passes."""
        graph = [self._fitting(lambda: self._forward(step_info, batch, seed))]
        sizes = [len(self.share(num, rank)) for rank in range(distributed.world_size())]
        local, start = num_items(batch), sum(sizes[: distributed.rank()]) if self.parted else 0
        types = [output.dtype for output in graph[0]]
        wide = [output.detach().to(torch.promote_types(output.dtype, torch.float32)) for output in graph[0]]
        outputs = [distributed.gather_rows(output, sizes) if self.parted else output for output in wide]
        with self.compute.autocast():
            terms = self._losses(step_info, [output.requires_grad_() for output in outputs], num)
            loss = self.compute.scaler.scale(torch.stack(list(terms.values())).sum())
        gradients = torch.autograd.grad(loss, outputs, materialize_grads=True)
        local_gradients = [part[start : start + local].to(kind) for part, kind in zip(gradients, types, strict=True)]
        self._fitting(lambda: self._backward(step_info, batch, graph, local_gradients, seed))
        return {name: term.detach() / (distributed.world_size() if self.parted else 1) for name, term in terms.items()}

    def _forward(self, step_info: StepInfo, batch: Batch, seed: Callable[[], object]) -> tuple[Tensor, ...]:
        """Return the outputs of a share, with their graph where one pass holds it."""
        assert self.task.outputs is not None
        parts = [part for _, part in self._cut(batch)]
        seed()
        with torch.set_grad_enabled(len(parts) == 1), self.compute.autocast():
            outputs = [self.task.outputs(step_info, part) for part in parts]
        return outputs[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*outputs, strict=True)))

    def _backward(
        self,
        step_info: StepInfo,
        batch: Batch,
        graph: list[tuple[Tensor, ...]],
        gradients: Sequence[Tensor],
        seed: Callable[[], object],
    ) -> None:
        """Take the outputs' gradients back: through ``graph``, which is then gone, or through the passes done again."""
        assert self.task.outputs is not None
        self.task.net.zero_grad()
        outputs = graph.pop() if graph else ()
        if outputs and outputs[0].requires_grad:
            _backward_through(outputs, gradients)
            return
        seed()
        for part, items in self._cut(batch):
            with self.compute.autocast():
                outputs = self.task.outputs(step_info, items)
            _backward_through(outputs, [gradient[part] for gradient in gradients])


def _backward_through(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Take gradients back through those outputs that have a graph: labels and a teacher's have none."""
    free = [output.requires_grad for output in outputs]
    torch.autograd.backward(list(compress(outputs, free)), list(compress(gradients, free)))


def _scaled(terms: Mapping[str, Tensor], share: float) -> Terms:
    return {name: term * share for name, term in terms.items()}


def _add(total: Terms, terms: Terms) -> None:
    for name, term in terms.items():
        total[name] = total[name] + term if name in total else term
