"""Shapes and starts of GenDet's networks; its block against PyTorch's own encoder layer."""

import pytest
import torch
from torch import nn

from aigid.detectors.gendet.model import Classifier, GenDetModel, Student, Tokenizer, TransformerBlock
from aigid.detectors.gendet.settings import GenDetSettings, TeacherSettings
from aigid.detectors.gendet.training import build_augmenter
from aigid.training.tabular import reset_parameters, torch_generator

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
