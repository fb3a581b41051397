"""Eqs. 1 to 4 by hand, on 2-D vectors placed by angle."""

import numpy as np
import pytest
import torch
from torch import Tensor

from aigid.detectors.gendet.model import discrepancy, fake_loss, real_loss, squared_cosine_distance

ANGLES = (0, 30, 60, 90, 120, 180)


def at(*degrees: float, length: float = 1.0) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], dim=1) * length


def gradient(loss: object, zt: Tensor, zs: Tensor) -> Tensor:
    zs = zs.clone().requires_grad_()
    loss(zt, zs).backward()
    return zs.grad


def test_discrepancy_is_per_output() -> None:
    found = discrepancy(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 0.0]]))
    assert found.tolist() == [[9.0, 4.0]]


def test_real_loss_by_hand() -> None:
    zt, zs = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[4.0, 0.0], [1.0, 1.0]])
    assert real_loss(zt, zs, "sum").item() == pytest.approx((13 + 2) / 2)
    assert real_loss(zt, zs, "mean").item() == pytest.approx((13 + 2) / 4)
    assert real_loss(zt, zs, "sum").item() == pytest.approx(7.5)


def test_chord_is_two_less_two_cosines_whatever_the_lengths() -> None:
    found = squared_cosine_distance(at(*[10] * len(ANGLES), length=3.0), at(*(10 + a for a in ANGLES), length=0.2))
    np.testing.assert_allclose(found, 2 - 2 * np.cos(np.radians(ANGLES)), atol=1e-12)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0, 4.0])
def test_fake_loss_equals_a_loop(margin: float) -> None:
    zt, zs = at(*[0] * len(ANGLES), length=2.0), at(*ANGLES, length=5.0)
    expected = [max(0.0, margin - (2 - 2 * np.cos(np.radians(angle)))) for angle in ANGLES]
    assert fake_loss(zt, zs, margin).item() == pytest.approx(np.mean(expected))


def test_margin_four_keeps_every_pair_active() -> None:
    """Only exact opposites reach it: the loss is 2 + 2 cos, and every other student still turns."""
    for angle in range(5, 180, 5):
        assert fake_loss(at(0), at(angle), 4.0).item() == pytest.approx(2 + 2 * np.cos(np.radians(angle)))
        assert gradient(lambda a, b: fake_loss(a, b, 4.0), at(0), at(angle)).norm() > 1e-3


def test_margin_two_stops_at_orthogonality() -> None:
    def turn(angle: float) -> float:
        return gradient(lambda a, b: fake_loss(a, b, 2.0), at(0), at(angle)).norm().item()

    assert turn(89.99) > 0.9
    assert turn(90.01) == 0
    assert turn(150) == 0


def test_gradient_of_the_margin_by_hand() -> None:
    """For a unit student at angle a, the loss M - 2 + 2 cos a falls as a grows: gradient -2 sin a along the tangent."""
    for angle in (20, 45, 80):
        found = gradient(lambda a, b: fake_loss(a, b, 2.0), at(0), at(angle))[0]
        tangent, radial = at(angle + 90)[0], at(angle)[0]
        assert (found @ tangent).item() == pytest.approx(-2 * np.sin(np.radians(angle)))
        assert (found @ radial).item() == pytest.approx(0, abs=1e-12)


def test_augmenter_and_student_pull_opposite_ways() -> None:
    """On one pair of unit vectors, along the circle; swapped roles would give equal signs."""
    for angle in (15, 50, 85):
        tangent = at(angle + 90)[0]
        student = gradient(lambda a, b: fake_loss(a, b, 2.0), at(0), at(angle))[0] @ tangent
        augmenter = gradient(lambda a, b: real_loss(a, b, "sum"), at(0), at(angle))[0] @ tangent
        assert student.item() == pytest.approx(-augmenter.item())
        assert student < 0
