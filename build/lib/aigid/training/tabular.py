"""Gradient descent on rows that stay on the device: an epoch is a permutation of row numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from aigid.core.seeding import derive_seed

BATCH = 4096  # rows at a time where nothing is trained

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Rows:
    """Rows of embeddings ``x`` (N, dim) by their ``numbers`` (n,), standardized when they are taken.

    Nothing is copied: 720,000 rows of 768 numbers are 2.2 GB.
    """

    x: Tensor
    numbers: Tensor
    standardize: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        return self.standardize(self.x[self.numbers[index]])


@torch.no_grad()
def batched(function: Callable[[Tensor], Tensor], x: Rows | Tensor) -> Tensor:
    """Apply a function to all rows, ``BATCH`` at a time."""
    results = [function(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
    return torch.cat(results) if results else torch.zeros(0)


def torch_generator(*key: str | int) -> torch.Generator:
    """Return a generator for a key, such as ``("gendet", "student", seed)``: on the CPU, equal on every device."""
    return torch.Generator().manual_seed(derive_seed(*key))


def reset_parameters(network: Net, rng: torch.Generator) -> Net:
    """Initialize every layer as PyTorch does, linear ones uniform in +-1/sqrt(inputs), but from ``rng``."""
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return network


def adamw(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW on all parameters, in one kernel a step."""
    return torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


def train_epoch(
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Tensor], Tensor],
    num_rows: int,
    batch_size: int,
    rng: torch.Generator,
    device: torch.device,
    weight: float = 1.0,
    max_rows: int | None = None,
) -> float:
    """Train on all rows in a new order, with the loss ``weight * loss_fn(row numbers (B,))``.

    Return the mean of the unweighted loss over the rows. An epoch ends after ``max_rows``, if given.
    """
    total = torch.zeros((), device=device)
    order = torch.randperm(num_rows, generator=rng)[:max_rows]
    for rows in order.to(device).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(rows)
        (weight * loss).backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return total.item() / len(order)
