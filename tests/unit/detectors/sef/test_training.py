"""The losses on points placed by angle, checked by hand and by plain loops over pairs."""

import math

import pytest
import torch

from aigid.detectors.sef.training import contrastive, losses
from tests.helpers.embeddings import at_angles


def at(*degrees, length=1.0):
    return torch.from_numpy(at_angles(*degrees, length=length)).float()


def chord(a, b):
    return 2 * math.sin(abs(a - b) * math.pi / 360)


def test_by_hand():
    """Reals at 0 and 60 degrees are a chord of 1 apart; a fake at 20 lacks 1 - chord(20), and 1 - chord(40)."""
    y = torch.tensor([0, 0, 1])
    expected = 1 + (1 - chord(0, 20) + 1 - chord(60, 20)) / 2
    assert float(contrastive(at(0, 60, 20), y, 1.0)) == pytest.approx(expected, abs=1e-5)
    assert float(contrastive(at(0, 60, 20, length=7.0), y, 1.0)) == pytest.approx(expected, abs=1e-5)


def test_what_loses_nothing_is_left_out_of_the_mean():
    """The fake at 180 is 2 from 0 and 1.73 from 60; the one at 40 lacks 1 - chord(40) and 1 - chord(20)."""
    y = torch.tensor([0, 0, 1, 1])
    expected = (chord(0, 60) + chord(180, 40)) / 2 + (1 - chord(0, 40) + 1 - chord(60, 40)) / 2
    assert float(contrastive(at(0, 60, 180, 40), y, 1.0)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("margin", [0.5, 1.0, 1.5])
def test_against_a_loop_over_pairs(margin):
    draw = torch.Generator().manual_seed(0)
    features, y = torch.randn(12, 5, generator=draw), torch.arange(12) % 2
    same, other = [], []
    for i in range(12):
        for j in range(12):
            if i != j:
                a, b = features[i] / features[i].norm(), features[j] / features[j].norm()
                far = float((a - b).norm())
                (same if y[i] == y[j] else other).append(far if y[i] == y[j] else max(margin - far, 0.0))
    expected = sum(part := [v for v in same if v > 0]) / len(part)
    if part := [v for v in other if v > 0]:
        expected += sum(part) / len(part)
    assert float(contrastive(features, y, margin)) == pytest.approx(expected, abs=1e-5)


def test_equal_features_have_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    contrastive(features, torch.tensor([0, 1, 0, 1]), 1.0).backward()
    assert torch.isfinite(features.grad).all()


def test_the_objective_is_half_and_half():
    features, logits, y = at(0, 60, 20), torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 0, 1])
    entropy = (math.log(2) + math.log(1 + math.e) + math.log(1 + math.exp(-2))) / 3
    found = losses(features, logits, y, 0.5, 1.0)
    assert float(found["cross_entropy"]) == pytest.approx(entropy / 2)
    assert float(found["contrastive"]) == pytest.approx(float(contrastive(features, y, 1.0)) / 2)
    assert list(losses(features, logits, y, 0.0, 1.0)) == ["cross_entropy"]
