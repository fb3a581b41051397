"""Gradient descent on rows that stay on the device: no loader, an epoch is a permutation of row numbers.

Randomness comes from generators of its own, on the CPU, so that threads do not disturb each other and every device
draws the same.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aigid.core.seeding import derive_seed


def torch_generator(*key: str | int) -> torch.Generator:
    """A generator for a key, such as ``("gendet", "student", seed)``."""
    return torch.Generator().manual_seed(derive_seed(*key))


def reset_parameters(network: nn.Module, draw: torch.Generator) -> nn.Module:
    """Every layer as PyTorch starts it, linear ones uniform in +-1/sqrt(inputs), but from ``draw``; the network."""
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=draw)
    return network


def adamw(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW on the parameters of one network, in one kernel a step."""
    return torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


def train_epoch(
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[Tensor], Tensor],
    num_rows: int,
    batch_size: int,
    draw: torch.Generator,
    device: torch.device,
    weight: float = 1.0,
) -> float:
    """One pass over all rows in a new order, descending ``weight * loss_of(row numbers (B,))``.

    Returns the mean of the unweighted loss over the rows.
    """
    total = torch.zeros((), device=device)
    for rows in torch.randperm(num_rows, generator=draw).to(device).split(batch_size):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(rows)
        (weight * loss).backward()
        optimizer.step()
        total += loss.detach() * len(rows)
    return total.item() / num_rows
