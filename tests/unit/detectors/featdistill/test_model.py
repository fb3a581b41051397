"""Experts are what the published ones are: sizes, names, heads, and which tokens are dense."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aigid.core.errors import InputError
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import lazy_member
from aigid.detectors.featdistill.settings import ExpertSettings
from aigid.features import lora
from aigid.features.encoder import TorchBackbone
from tests.helpers.demo_experts import STAGED, TOWERS, expert

PUBLISHED = {  # millions of parameters of tower and head, patch tokens, their width
    "featdistill_clip": (303.97, 0.197, 256, 1024),
    "featdistill_siglip": (428.23, 0.296, 729, 1152),
}


def millions(network):
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def full_size(name):
    how = ExpertSettings(backbone=name, seed=0)
    return how.model_copy(update={"backbone": experts.without_head(how.backbone)})


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published(name):
    with torch.device("meta"):
        made = experts.build(full_size(name))
        size = full_size(name).backbone.preprocess.size
        answer = made.answer(torch.empty(1, 3, size, size), (-1,))
    tower, head, tokens, width = PUBLISHED[name]
    assert millions(made.vision_encoder) == pytest.approx(tower, abs=0.006)
    assert millions(made.classifier) == pytest.approx(head, abs=0.0006)
    assert answer.logits.shape == (1, 2)
    assert answer.tokens[0].shape == (1, tokens, width)


TABLE_2 = {  # the paper's other backbones, as timm has them: size, millions of parameters, dense features
    "swin_tiny_patch4_window7_224": (224, 28, 49, 768),
    "resnet50x64_clip": (448, 420, 196, 4096),
    "vit_base_patch16_224": (224, 86, 196, 768),  # MoCo v3
    "convnext_base": (224, 89, 49, 1024),
    "beit_base_patch16_224": (224, 86, 196, 768),
    "vit_base_patch14_dinov2": (518, 86, 1369, 768),
}


@pytest.mark.parametrize("name", TABLE_2)
def test_every_backbone_of_table_2_is_an_expert_with_dense_features(name):
    size, millions_of, tokens, width = TABLE_2[name]
    backbone = {"library": "timm", "model": name, "config": {}, "preprocess": {"size": size}}
    with torch.device("meta"):
        made = experts.build(ExpertSettings(backbone=backbone, seed=0))
        answer = made.answer(torch.empty(1, 3, size, size), (-1, 0))
    assert millions(made.vision_encoder) == pytest.approx(millions_of, rel=0.02)
    assert answer.logits.shape == (1, 2)
    assert answer.tokens[0].shape == (1, tokens, width)
    assert len(answer.tokens) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_full_size_expert_runs_forward_and_back(name):
    made = experts.build(full_size(name))
    lora.enable_gradient_checkpointing(made.vision_encoder)
    made.train()
    size = full_size(name).backbone.preprocess.size
    answer = made.answer(torch.randn(1, 3, size, size), (-1,))
    (answer.logits.square().mean() + answer.tokens[0].square().mean()).backward()
    assert all(torch.isfinite(value.grad).all() for value in made.parameters() if value.grad is not None)
    assert sum(value.grad is None for value in made.parameters()) == 0


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "model_state_dict"])
@pytest.mark.parametrize("kind", TOWERS)
def test_a_checkpoint_of_the_published_form_loads(kind, wrapped, tmp_path):
    made = experts.build(expert(kind)).eval()
    state = experts.state_dict(made)
    assert {name for name in state if not name.startswith("vision_encoder.")} == {
        f"classifier.{layer}.{part}" for layer in (0, 3) for part in ("weight", "bias")
    }
    if kind in ("siglip", "clip"):  # as transformers 4 named the tower of either kind
        assert "vision_encoder.vision_model.embeddings.patch_embedding.weight" in state
    file = tmp_path / f"Expert_1_{kind}.pth"
    torch.save({"model_state_dict": state, "epoch": 2} if wrapped else state, file)
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        again = experts.load(expert(kind, seed=5), file).eval()
        assert torch.equal(again(pixels), made(pixels))


@pytest.mark.parametrize("kind", STAGED)
def test_what_no_checkpoint_has_is_computed(kind, tmp_path):
    made = experts.build(expert(kind)).eval()
    save_file({name: it.contiguous() for name, it in experts.state_dict(made).items()}, tmp_path / "one.safetensors")
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(
            experts.load(expert(kind, seed=5), tmp_path / "one.safetensors").eval()(pixels), made(pixels)
        )


@pytest.mark.parametrize("kind", TOWERS)
def test_an_expert_is_a_backbone(kind, tmp_path):
    made = experts.build(expert(kind, seed=3)).eval()
    with torch.no_grad():
        for value in made.vision_encoder.parameters():
            value.add_(0.01 * torch.randn_like(value))
    save_file({name: it.contiguous() for name, it in experts.state_dict(made).items()}, tmp_path / "one.safetensors")
    member = lazy_member(expert(kind), tmp_path / "one.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    backbone = TorchBackbone(member.backbone(), torch.device("cpu"))
    embeddings = backbone.encode(images)
    how = expert(kind).backbone.preprocess
    pixels = torch.from_numpy(images / 255.0).permute(0, 3, 1, 2)
    pixels = ((pixels - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.std).view(3, 1, 1)).float()
    with torch.no_grad():
        logits = made(pixels).double()
    expected = torch.exp(logits[:, 1]) / torch.exp(logits).sum(dim=1)
    np.testing.assert_allclose(member.probabilities(embeddings), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", TOWERS)
def test_dense_tokens_are_the_last_hidden_states_of_the_patches(kind):
    made = experts.build(expert(kind)).eval()
    pixels = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        answer = made.answer(pixels, (-1, 0))
        if kind == "efficientnet":  # a token is a pixel of a stage's feature maps
            expected = made.vision_encoder.forward_intermediates(pixels, indices=1, intermediates_only=True)[0]
            expected = expected.flatten(2).transpose(1, 2)
        elif kind == "open_clip":
            made.vision_encoder.output_tokens = True
            expected = made.vision_encoder(pixels)[1]
        else:
            model = made.vision_encoder.model
            expected = model(pixel_values=pixels).last_hidden_state
            if kind == "clip":  # its last hidden state comes before the last norm, the class token first
                expected = model.vision_model.post_layernorm(expected)[:, 1:]
    assert answer.tokens[0].shape == ((2, 1, 64) if kind == "efficientnet" else (2, 16, 16))
    torch.testing.assert_close(answer.tokens[0], expected)
    assert answer.tokens[1].shape != expected.shape or not torch.allclose(answer.tokens[1], expected)


def test_batch_norms_keep_their_statistics_in_training():
    made = experts.build(expert("efficientnet")).train()
    assert made.classifier.training
    before = {name: value.clone() for name, value in made.named_buffers()}
    pixels = torch.randn(4, 3, 16, 16) * 9
    learning = made.vision_encoder(pixels)
    learning.square().mean().backward()
    assert made.vision_encoder.bn1.weight.grad.abs().max() > 0  # scale and shift learn
    assert all(torch.equal(value, before[name]) for name, value in made.named_buffers())
    torch.testing.assert_close(learning, made.eval().vision_encoder(pixels))


@pytest.mark.parametrize("kind", TOWERS)
def test_saving_memory_changes_no_gradient(kind):
    gradients = []
    for saves in (False, True):
        made = experts.build(expert(kind)).train()
        if saves:
            lora.enable_gradient_checkpointing(made.vision_encoder)
        torch.manual_seed(0)
        answer = made.answer(torch.ones(2, 3, 16, 16).cumsum(dim=3), (-1,))
        (answer.logits[:, 0].mean() + answer.tokens[0].square().mean()).backward()
        gradients.append({name: value.grad for name, value in made.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_wrong_checkpoints_are_refused_in_one_line(tmp_path):
    state = experts.state_dict(experts.build(expert("siglip")))
    other = state | {"classifier.0.weight": torch.zeros(256, 20)}
    torch.save(other, tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"wide.pth: do not fit.*of another shape: classifier.0.weight"):
        experts.load(expert("siglip"), tmp_path / "wide.pth")
    torch.save(state, tmp_path / "mixed.pth")
    with pytest.raises(InputError, match=r"mixed.pth: do not fit this model; keys missing"):
        experts.load(expert("clip"), tmp_path / "mixed.pth")
    torch.save({"model_state_dict": state, "module": expert}, tmp_path / "code.pth")
    with pytest.raises(InputError, match=r"code.pth: refused: it holds"):
        experts.load(expert("siglip"), tmp_path / "code.pth")
