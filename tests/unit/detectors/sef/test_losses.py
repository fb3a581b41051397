"""The losses on points placed by angle, by hand, by plain loops over pairs, and in half precision; the schedule."""

import math

import pytest
import torch
from torch import nn

from aigid.detectors.sef.losses import contrastive, losses
from aigid.detectors.sef.settings import ExpertSettings
from aigid.detectors.sef.training import optimizer_and_schedule
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


def test_on_the_worked_check_of_the_released_code():
    features = torch.tensor([(3.0, 0.0), (0.0, 2.0), (1.0, 1.0), (-1.0, 0.5)])
    y, logits = torch.tensor([0, 0, 1, 1]), torch.tensor([-2.0, 0.5, 1.0, -0.25])
    assert float(contrastive(features, y, 1.0)) == pytest.approx(1.752982, abs=1e-6)
    assert float(contrastive(features, y, 1e-9)) == pytest.approx(1.518349, abs=1e-6)  # what one class alone loses
    found = losses(features, logits, y, 0.5, 1.0)
    assert float(found["cross_entropy"]) == pytest.approx(0.560052 / 2, abs=1e-6)
    assert float(sum(found.values())) == pytest.approx(1.156517, abs=1e-6)


def test_equal_features_are_no_distance_apart_and_do_not_count():
    """By the product of unit vectors many of them would be 2e-4 to 5e-4 apart, and the mean would be over them too."""
    one, other = torch.randn(2, 1024, generator=torch.Generator().manual_seed(0))
    assert float(contrastive(torch.stack([one] * 4), torch.tensor([0, 0, 1, 1]), 1.0)) == 1
    y = torch.zeros(6, dtype=torch.long)
    features = torch.stack([one] * 5 + [other])
    expected = torch.dist(one / one.norm(), other / other.norm())
    assert float(contrastive(features, y, 1.0)) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("far", [0.002, 0.01, 0.019])
def test_under_autocast_near_pairs_keep_their_distance_and_gradient(dtype, far):
    """In half precision 2 - 2 cos of so small an angle is 0, and so is its gradient."""
    degrees = math.degrees(2 * math.asin(far / 2))
    plain, features = (at(0, degrees, 180, 180 + degrees).requires_grad_() for _ in range(2))
    y = torch.tensor([0, 0, 1, 1])
    contrastive(plain, y, 1.0).backward()
    with torch.autocast("cpu", dtype):
        assert (features @ features.T).dtype == dtype
        found = losses(features, features[:, 0], y, 0.5, 1.0)
    assert float(found["contrastive"].detach()) == pytest.approx(far / 2, rel=1e-3)
    assert {term.dtype for term in found.values()} == {torch.float32}
    (2 * found["contrastive"]).backward()
    torch.testing.assert_close(features.grad, plain.grad)
    assert features.grad.norm() > 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_features_in_half_precision_are_compared_in_float32(dtype):
    features = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    features[4:] = features[:4] + (torch.randn(4, 64, generator=torch.Generator().manual_seed(1)) / 50).to(dtype)
    y = torch.arange(8) % 4
    found = contrastive(features, y, 1.0)
    assert float(found) == pytest.approx(float(contrastive(features.double(), y, 1.0)), rel=1e-5)
    assert contrastive(features.double(), y, 1.0).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_scaled_loss_has_the_gradient_of_the_plain_one(dtype):
    """Through a layer that autocast runs in half precision, with the scaler of training."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(6, 16, generator=draw), torch.tensor([0, 0, 0, 1, 1, 1])
    layers = [nn.Linear(16, 8), nn.Linear(16, 8)]
    layers[1].load_state_dict(layers[0].state_dict())

    def loss(layer):
        features = layer(x)
        return sum(losses(features, features[:, 0], y, 0.5, 1.0).values())

    loss(layers[0]).backward()
    scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=2.0**12), torch.optim.SGD(layers[1].parameters(), lr=1)
    before = layers[1].weight.detach().clone()
    with torch.autocast("cpu", dtype):
        scaled = scaler.scale(loss(layers[1]))
    scaled.backward()
    scaler.step(optimizer)
    torch.testing.assert_close(before - layers[1].weight, layers[0].weight.grad, rtol=0.1, atol=0.01)
    scaler.update()
    assert scaler.get_scale() == 2.0**12  # no step was left out


class Trained(nn.Module):
    """An expert's two parts, as far as an optimizer sees them."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Linear(2, 2), nn.Linear(2, 1)


RATES = {1: 1e-4, 2: 9.99997535e-5, 251: 8.537e-5, 501: 5.005e-5, 1001: 1e-7, 1501: 5.005e-5, 2001: 1e-4}


@pytest.mark.parametrize(("update", "rate"), (RATES | {14786: 1.10675e-5}).items())
def test_the_rates_of_an_update_are_those_of_the_released_code(update, rate):
    """The head's, and what stepping twice makes of it for the adapters."""
    optimizer, schedule = optimizer_and_schedule(Trained(), ExpertSettings(lora_learning_rate=2e-4))
    for _ in range(update - 1):
        optimizer.step()
        schedule.step()
    head, adapters = optimizer.param_groups
    assert head["lr"] == pytest.approx(rate, rel=1e-4)
    assert adapters["lr"] == pytest.approx(2 * rate, rel=1e-4)
    assert [tuple(value.shape) for value in adapters["params"]] == [(2, 2), (2,)]
    assert (head["betas"], head["weight_decay"]) == ((0.9, 0.999), 0)


def test_adapters_learn_at_the_heads_rate_unless_another_is_given():
    optimizer, _ = optimizer_and_schedule(Trained(), ExpertSettings())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-4]
