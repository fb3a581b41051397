"""Batch normalisation over two processes against PyTorch's own over the whole batch, gradients included."""

import torch
from timm.layers import BatchNormAct2d
from torch import nn

from aigid.training import distributed
from aigid.training.distributed import sync_batch_norm
from tests.helpers.together import together

BATCH = 6


def layers():
    """Each with the images it takes; their mean is far from zero, where naive sums of squares lose digits."""
    draw = torch.Generator().manual_seed(0)
    pictures = 30 + torch.randn(BATCH, 4, 5, 3, generator=draw) * torch.rand(4, 1, 1, generator=draw)
    norms = [nn.BatchNorm2d(4), BatchNormAct2d(4, inplace=False), nn.BatchNorm2d(4, affine=False, momentum=None)]
    norms += [nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(4).eval()]
    for norm in norms:
        for value in norm.parameters():
            nn.init.uniform_(value, 0.5, 2, generator=draw)
    return [(norm, pictures) for norm in norms] + [(nn.BatchNorm1d(3), pictures[:, 0, 0])]


def two_steps(norm, rows, start=0):
    """What two steps give and leave behind, for a loss that weighs each number otherwise."""
    rows = rows.clone().requires_grad_()
    weights = torch.randn(BATCH, *rows.shape[1:], generator=torch.Generator().manual_seed(1))[start : start + len(rows)]
    with sync_batch_norm():
        norm(rows * 0.5)
        results = norm(rows)
    (results.square() * weights).flatten(1).sum(dim=1).mean().backward()
    return {"out": results.detach(), "rows": rows.grad, "state": norm.state_dict(),
            "gradients": [value.grad for value in norm.parameters()]}  # fmt: skip


def _half(rank, folder):
    results, num = [], BATCH // 2
    for norm, rows in layers():
        result = two_steps(norm, rows[rank * num : (rank + 1) * num], rank * num)
        distributed.all_reduce_sum(result["gradients"])
        result["gradients"] = [gradient / 2 for gradient in result["gradients"]]
        results.append(result)
    torch.save(results, folder / f"{rank}.pt")


def test_two_halves_are_normalised_as_the_whole(tmp_path):
    together(2, _half, tmp_path)
    halves = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for (norm, rows), *parts in zip(layers(), *halves, strict=True):
        expected = two_steps(norm, rows)
        torch.testing.assert_close(torch.cat([part["out"] for part in parts]), expected["out"], atol=2e-4, rtol=1e-5)
        torch.testing.assert_close(
            torch.cat([part["rows"] for part in parts]) / 2, expected["rows"], atol=1e-4, rtol=1e-4
        )
        for part in parts:
            torch.testing.assert_close(part["state"], dict(expected["state"]), check_stride=False)
            torch.testing.assert_close(part["gradients"], expected["gradients"], atol=1e-5, rtol=1e-5)
