"""GenDet's networks, its block against PyTorch's own encoder layer, and Eqs. 1 to 4 by hand on points by angle."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aigid.detectors.gendet.model import (
    Classifier,
    GenDetModel,
    Student,
    Tokenizer,
    TransformerBlock,
    fake_loss,
    real_loss,
    squared_cosine_distance,
)
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.gendet.training import build_augmenter
from aigid.training.tabular import reset_parameters, torch_generator
from tests.helpers.embeddings import at_angles

RATES = {"teacher": {"learning_rate": 1e-4}, "classifier": {"learning_rate": 1e-3}}
SETTINGS = GenDetSettings(backbone="b", dataset="d", learning_rate=1e-4, **RATES)


def x(num: int = 5, dim: int = 768) -> torch.Tensor:
    return torch.randn(num, dim, generator=torch.Generator().manual_seed(0))


def test_the_block_is_pytorchs_encoder_layer() -> None:
    ours = reset_parameters(TransformerBlock(196, 4, 4), torch_generator("block"))
    theirs = nn.TransformerEncoderLayer(196, 4, 784, 0.0, "gelu", batch_first=True, norm_first=True).eval()
    names = {
        "norm_attention": "norm1", "norm_feed": "norm2", "out": "self_attn.out_proj", "up": "linear1", "down": "linear2"
    }  # fmt: skip
    state = {f"{names[layer]}.{kind}": value for key, value in ours.state_dict().items()
             for layer, kind in [key.split(".")] if layer in names}  # fmt: skip
    state |= {"self_attn.in_proj_weight": ours.qkv.weight, "self_attn.in_proj_bias": ours.qkv.bias}
    theirs.load_state_dict(state)
    tokens = torch.randn(3, 4, 196, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(tokens), theirs(tokens), atol=1e-5, rtol=1e-5)


def test_the_papers_sizes() -> None:
    """Width 196, 4 heads, feed-forward 784; for one token of 768 features 150,724 and 463,540 parameters."""
    count = [sum(p.numel() for p in part.parameters()) for part in (nn.Linear(768, 196), TransformerBlock(196, 4, 4))]
    assert count == [150_724, 463_540]
    assert Tokenizer(768, 4, 196)(x()).shape == (5, 4, 196)
    assert Student(768, SETTINGS.teacher)(x()).shape == (5, 784)
    assert Classifier(SETTINGS.teacher)(torch.zeros(5, 784)).shape == (5,)


def test_a_token_is_a_linear_map_of_the_whole_feature() -> None:
    tokeniser = reset_parameters(Tokenizer(768, 4, 196), torch_generator("t"))
    third = x() @ tokeniser.linear.weight[392:588].T + tokeniser.linear.bias[392:588]
    torch.testing.assert_close(tokeniser(x())[:, 2], third)


def test_the_augmenter_starts_as_the_identity() -> None:
    augmenter = build_augmenter(768, SETTINGS, seed=0)
    assert torch.equal(augmenter(x()), x())
    augmenter(x()).sum().backward()
    assert augmenter.out.weight.grad.abs().sum() > 0  # and can leave it
    plain = build_augmenter(768, SETTINGS.model_copy(update={"residual_augmenter": False}), seed=0)
    assert not torch.allclose(plain(x()), x(), atol=0.1)


def test_initialisation_is_pytorchs_and_does_not_touch_the_global_state() -> None:
    before = torch.random.get_rng_state()
    layer = reset_parameters(nn.Linear(400, 300), torch_generator("a")).weight
    reference = nn.Linear(400, 300).weight
    assert layer.abs().max() <= 400**-0.5
    assert layer.std().item() == pytest.approx(reference.std().item(), rel=0.02)
    torch.random.set_rng_state(before)
    assert torch.equal(reset_parameters(nn.Linear(400, 300), torch_generator("a")).weight, layer)


def test_the_classifier_sees_the_discrepancy_alone() -> None:
    """Features that teacher and student cannot tell apart are one verdict, whatever they are."""
    network = GenDetModel(6, TeacherSettings(learning_rate=1, width=8), teacher_only=False).requires_grad_(False)
    draws = {"teacher": "t", "student": "s", "classifier": "c"}
    for name, key in draws.items():
        reset_parameters(getattr(network, name), torch_generator(key))
    assert network(x(9, 6)).std() > 0
    network.student.load_state_dict(network.teacher.state_dict(), strict=False)
    assert network(x(9, 6)).std() == 0
    handed = []
    network.classifier.register_forward_pre_hook(lambda _, inputs: handed.append(inputs))
    network(x(9, 6))
    assert len(handed) == 1
    assert torch.equal(handed[0][0], torch.zeros(9, 32))


ANGLES = (0, 30, 60, 90, 120, 180)


def at(*degrees: float, length: float = 1.0) -> Tensor:
    return torch.from_numpy(at_angles(*degrees, length=length))


def gradient(loss: object, zt: Tensor, zs: Tensor) -> Tensor:
    zs = zs.clone().requires_grad_()
    loss(zt, zs).backward()
    return zs.grad


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
