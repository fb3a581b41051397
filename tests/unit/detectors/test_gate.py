"""The gate starts as the mean, weighs each image by itself, and can learn to trust one tower."""

import numpy as np
import torch
from torch import Tensor, nn

from aigid.detectors.gate import SoftmaxGate
from aigid.training.tabular import reset_parameters, torch_generator


def parts(num: int = 6, width: int = 8, k: int = 3) -> list[Tensor]:
    return list(torch.randn(k, num, width, generator=torch.Generator().manual_seed(0)))


def learnt(k: int = 3) -> SoftmaxGate:
    return reset_parameters(SoftmaxGate(k, 8, 16), torch_generator("gate"))


def test_it_starts_as_the_mean() -> None:
    torch.testing.assert_close(SoftmaxGate(3, 8, 16)(parts()), torch.stack(parts()).mean(dim=0))
    gate = learnt()
    assert not torch.allclose(gate(parts()), torch.stack(parts()).mean(dim=0), atol=1e-2)
    gate.init_uniform()
    torch.testing.assert_close(gate(parts()), torch.stack(parts()).mean(dim=0))


def test_it_leaves_the_mean_at_the_first_step() -> None:
    gate = SoftmaxGate(3, 8, 16)
    gate(parts()).square().sum().backward()
    assert gate.out.weight.grad.abs().sum() > 0


def test_the_sum_equals_a_loop() -> None:
    gate, given = learnt(), parts()
    weights = gate.weights(given).detach().numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights.std(axis=0).min() > 1e-3  # an image's own
    for image in range(6):
        expected = sum(weights[image, k] * given[k][image].numpy() for k in range(3))
        np.testing.assert_allclose(gate(given)[image].detach().numpy(), expected, atol=1e-6)


def test_an_image_does_not_depend_on_its_company() -> None:
    gate, given = learnt(), parts()
    torch.testing.assert_close(gate([part[2:3] for part in given]), gate(given)[2:3])


def test_one_part_passes_through() -> None:
    torch.testing.assert_close(learnt(1)(parts(k=1)), parts(k=1)[0])


def test_it_learns_whom_to_trust_image_by_image() -> None:
    """A flag in the first part says which of two parts holds the target."""
    draw = torch.Generator().manual_seed(0)
    given, flag = torch.randn(2, 512, 8, generator=draw), torch.randint(0, 2, (512,), generator=draw)
    given[0, :, 0] = 4.0 * flag - 2
    target = given[flag, torch.arange(512), 1]
    gate = learnt(2)
    gate.init_uniform()
    optimizer = torch.optim.AdamW(gate.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.mse_loss(gate(given)[:, 1], target).backward()
        optimizer.step()
    trusted = gate.weights(given)[torch.arange(512), flag]
    assert trusted.mean() > 0.9
