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


def term_of(taught, answer, pixels):
    """The term of the student's answer and what the teacher sees."""
    return taught.term(taught.features(answer, pixels))


def test_a_student_like_its_teacher_has_nothing_to_learn():
    made = experts.build(expert()).eval()
    taught = build_distiller(made, Stage2Settings(layers=(-1, 0)), 10)
    pixels = torch.randn(2, 3, 16, 16)
    assert term_of(taught, made.answer(pixels, taught.layers), pixels) == 0
    assert term_of(taught, made.answer(pixels + 1, taught.layers), pixels) > 0


def test_gradients_reach_every_layer_of_the_student_and_none_of_the_teacher():
    """Tokens alone teach no pooling: what comes after them is left to cross-entropy."""
    made = experts.build(expert("clip")).eval()
    taught = build_distiller(made, Stage2Settings(), 10)
    pixels = torch.randn(2, 3, 16, 16)
    answer = made.answer(pixels + 0.1 * torch.randn(2, 3, 16, 16), taught.layers)
    (term_of(taught, answer, pixels) + answer.logits[:, 0].mean()).backward()
    for name, value in made.named_parameters():
        assert value.grad is not None, name
        if not name.endswith("k_proj.bias"):  # which attention does not feel
            assert value.grad.abs().sum() > 0, name
    assert all(value.grad is None for value in taught.teacher.parameters())


def test_each_term_has_its_weight_and_its_sign():
    """Twice the weight is twice the term, which is positive; the weight of the other mode changes nothing."""
    for mode, weight, other in (
        ("l2", "distill_weight", "contrastive_weight"),
        ("crd_ema", "contrastive_weight", "distill_weight"),
    ):
        found = []
        for weights in ({weight: 1.0}, {weight: 2.0}, {weight: 1.0, other: 9.0}):
            torch.manual_seed(0)
            made = experts.build(expert()).eval()
            taught = build_distiller(made, Stage2Settings(mode=mode, queue=8, **weights), 10)
            pixels = torch.randn(2, 2, 3, 16, 16)
            found.append(term_of(taught, made.answer(pixels[0], taught.layers), pixels[1]).item())
        assert found[0] > 0
        assert found == [found[0], pytest.approx(2 * found[0]), found[0]]
    default = Stage2Settings()
    assert (default.distill_weight, default.contrastive_weight) == (1.0, 0.8)


@pytest.mark.parametrize("mode", ["l2", "crd_ema"])
def test_descending_the_term_brings_the_student_to_its_teacher(mode):
    """A student that was pushed away comes nearer: ascending would take it further."""
    torch.manual_seed(0)
    made = experts.build(expert()).eval()
    taught = build_distiller(made, Stage2Settings(mode=mode, queue=8), 10)
    with torch.no_grad():
        for value in made.vision_encoder.parameters():
            value.add_(0.05 * torch.randn_like(value))
    pixels, optimizer, found = torch.randn(6, 3, 16, 16), torch.optim.Adam(made.vision_encoder.parameters(), 1e-3), []
    for _ in range(20):
        with torch.no_grad():
            mine, its = (net.answer(pixels, (-1,)) for net in (made, taught.teacher))
            away = losses.distance(mine.tokens, its.tokens), losses.distance([mine.embedding], [its.embedding])
            found.append(float(away[mode == "crd_ema"]))
        optimizer.zero_grad()
        term_of(taught, made.answer(pixels, taught.layers), pixels).backward()
        optimizer.step()
    assert found[-1] < 0.8 * found[0]


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
    assert contrast(*unit).item() == pytest.approx(expected, rel=1e-4)  # a step done again changes nothing
    contrast.remember()
    again = slow_contrast(*unit, contrast.queue, 0.3, 50, normaliser)  # the normaliser stays
    assert contrast(*unit).item() == pytest.approx(again, rel=1e-4)


def test_the_queue_forgets_the_oldest():
    contrast = losses.ContrastiveQueue(size=5, width=1, temperature=1, num_images=5)

    def remember(*values):
        contrast(torch.ones(len(values), 1), torch.tensor(values)[:, None])
        contrast.remember()

    for start in (0.0, 2.0, 4.0):
        remember(start, start + 1)
    assert contrast.queue.flatten().tolist() == [5, 1, 2, 3, 4]
    remember(*map(float, range(7)))
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


def near_pairs(width=16, apart=1e-3):
    """Unit vectors, and others as near to them as float16 can hardly tell."""
    draw = torch.Generator().manual_seed(0)
    one = nn.functional.normalize(torch.randn(6, width, generator=draw), dim=1)
    return one, nn.functional.normalize(one + apart * torch.randn(6, width, generator=draw), dim=1)


LOSSES = {
    "cross_entropy": lambda x, y: losses.cross_entropy(30 * x[:, :2], torch.arange(6) % 2),
    "distance": lambda x, y: losses.distance([x[:, None]], [y[:, None]]),
    "contrast": lambda x, y: losses.ContrastiveQueue(8, 16, 0.07, 50)(x, y),
    "projected": lambda x, y: losses.ContrastiveQueue(8, 16, 0.07, 50)(*map(projection(), (x, y))),
}


def projection():
    """Of the same weights each time."""
    torch.manual_seed(3)
    return losses.Projection(16, 16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_full_precision_under_autocast(name, dtype):
    """Value and gradient to float32's digits, with a gradient scaler, whatever the encoders computed in."""
    values, gradients = [], []
    for mixed in (False, True):
        student, teacher = near_pairs()
        student.requires_grad_()
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=mixed)
        with torch.autocast("cpu", dtype, enabled=mixed):
            loss = LOSSES[name](student, teacher)
        assert loss.dtype == torch.float32
        scaler.scale(loss).backward()
        optimizer = torch.optim.SGD([student])
        scaler.unscale_(optimizer)
        values.append(loss.item())
        gradients.append(student.grad)
    assert values[0] > 0
    assert gradients[0].abs().max() > 0
    assert values[1] == pytest.approx(values[0], rel=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["l2", "crd_ema"])
def test_a_mixed_step_of_either_mode_is_finite_and_near_that_of_full_precision(mode, dtype):
    """Encoders and heads in half precision, losses not; the scaler finds nothing to leave out."""
    found = []
    for mixed in (False, True):
        torch.manual_seed(0)
        made = experts.build(expert()).eval()
        taught = build_distiller(made, Stage2Settings(mode=mode, queue=8), 10)
        pixels, scaler = torch.randn(2, 4, 3, 16, 16), torch.amp.GradScaler("cpu", init_scale=2.0**8, enabled=mixed)
        optimizer = torch.optim.SGD(taught.net.parameters())
        with torch.autocast("cpu", dtype, enabled=mixed):
            answer = made.answer(pixels[0], taught.layers)
            terms = losses.cross_entropy(answer.logits, torch.arange(4) % 2), term_of(taught, answer, pixels[1])
        assert {term.dtype for term in terms} == {torch.float32}
        scaler.scale(sum(terms)).backward()
        scaler.unscale_(optimizer)
        assert all(torch.isfinite(value.grad).all() for value in taught.net.parameters() if value.grad is not None)
        found.append([term.item() for term in terms])
    assert found[1] == pytest.approx(found[0], rel=0.05)
