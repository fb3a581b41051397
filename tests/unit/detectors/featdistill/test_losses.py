"""The losses against sums by hand and loops."""

import math

import pytest
import torch
from torch import nn

from aigid.detectors.featdistill import losses
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.losses import build_distiller
from aigid.detectors.featdistill.settings import Stage2Settings
from tests.helpers.demo_experts import expert


def test_the_distance_by_hand():
    student = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    teacher = torch.tensor([[[1.0, 0.0], [0.0, 4.0]]])
    assert losses.distance([student], [teacher]) == pytest.approx((4 + 9) / 4)
    assert losses.distance([student, student], [teacher, student]) == pytest.approx((4 + 9) / 4 / 2)


def test_a_student_like_its_teacher_has_nothing_to_learn():
    made = experts.build(expert()).eval()
    taught = build_distiller(made, Stage2Settings(layers=(-1, 0)), 10)
    pixels = torch.randn(2, 3, 16, 16)
    assert taught.term(made.answer(pixels, taught.layers), pixels) == 0
    assert taught.term(made.answer(pixels + 1, taught.layers), pixels) > 0


def test_gradients_reach_every_layer_of_the_student_and_none_of_the_teacher():
    """Tokens alone teach no pooling: what comes after them is left to cross-entropy."""
    made = experts.build(expert("clip")).eval()
    taught = build_distiller(made, Stage2Settings(), 10)
    pixels = torch.randn(2, 3, 16, 16)
    answer = made.answer(pixels + 0.1 * torch.randn(2, 3, 16, 16), taught.layers)
    (taught.term(answer, pixels) + answer.logits[:, 0].mean()).backward()
    for name, value in made.named_parameters():
        assert value.grad is not None, name
        if not name.endswith("k_proj.bias"):  # which attention does not feel
            assert value.grad.abs().sum() > 0, name
    assert all(value.grad is None for value in taught.teacher.parameters())


def test_the_momentum_runs_from_base_to_most():
    """Section 5.1: m(t) = m_max - (m_max - m_base)(cos(pi t / T) + 1) / 2."""
    assert losses.ema_momentum(0, 0.99, 0.9999) == pytest.approx(0.99)
    assert losses.ema_momentum(0.5, 0.99, 0.9999) == pytest.approx((0.99 + 0.9999) / 2)
    assert losses.ema_momentum(1, 0.99, 0.9999) == pytest.approx(0.9999)


def test_a_teacher_follows_by_its_share():
    teacher, student = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(teacher.weight, 1.0)
    nn.init.constant_(student.weight, 3.0)
    losses.ema_update(teacher, student, 0.75)
    assert teacher.weight.item() == pytest.approx(1.5)


def slow_contrast(student, teacher, queue, temperature, num_images, normaliser):
    """CRD's loss, image by image and pair by pair: was the pair drawn from one image, or from the noise?"""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        noise = len(queue) / num_images

        def likeness(other, s=s):
            return math.exp(sum(a * b for a, b in zip(s, other, strict=True)) / temperature) / normaliser

        total -= math.log(likeness(t) / (likeness(t) + noise))
        for negative in queue.tolist():
            total -= math.log(1 - likeness(negative) / (likeness(negative) + noise))
    return total / len(student)


def test_the_contrast_equals_a_slow_reference():
    torch.manual_seed(0)
    unit = [nn.functional.normalize(torch.randn(n, 3), dim=1) for n in (4, 4)]
    contrast = losses.ContrastiveQueue(size=5, width=3, temperature=0.3, num_images=50)
    pairs = torch.cat([(unit[0] * unit[1]).sum(1, keepdim=True), unit[0] @ contrast.queue.T], dim=1)
    normaliser = float((pairs / 0.3).exp().mean()) * 50
    expected = slow_contrast(*unit, contrast.queue, 0.3, 50, normaliser)
    assert contrast(*unit).item() == pytest.approx(expected, rel=1e-4)
    contrast.remember(unit[1])
    again = slow_contrast(*unit, contrast.queue, 0.3, 50, normaliser)  # the normaliser stays
    assert contrast(*unit).item() == pytest.approx(again, rel=1e-4)


def test_the_queue_forgets_the_oldest():
    contrast = losses.ContrastiveQueue(size=5, width=1, temperature=1, num_images=5)
    for start in (0, 2, 4):
        contrast.remember(torch.tensor([[start], [start + 1]], dtype=torch.float32))
    assert contrast.queue.flatten().tolist() == [5, 1, 2, 3, 4]
    contrast.remember(torch.arange(7.0)[:, None])
    assert sorted(contrast.queue.flatten().tolist()) == [2, 3, 4, 5, 6]


def test_images_pull_their_own_embedding():
    """Descending the contrast brings a student to its teacher's embeddings."""
    torch.manual_seed(0)
    target = nn.functional.normalize(torch.randn(6, 4), dim=1)
    student = torch.randn(6, 4, requires_grad=True)
    contrast = losses.ContrastiveQueue(size=8, width=4, temperature=0.2, num_images=6)
    optimizer = torch.optim.Adam([student], lr=0.05)
    before = (nn.functional.normalize(student, dim=1) * target).sum(1).mean().item()
    for _ in range(100):
        optimizer.zero_grad()
        contrast(nn.functional.normalize(student, dim=1), target).backward()
        optimizer.step()
    assert (nn.functional.normalize(student, dim=1) * target).sum(1).mean() > max(before, 0) + 0.3
