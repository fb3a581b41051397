"""LoRA on encoders of each library: where it sits, what it changes, what is saved, what is refused."""

import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from aigid.core.errors import InputError
from aigid.features import checkpoints, lora, vit
from aigid.features.backbones import LoraSettings, backbone_settings
from aigid.features.encoder import load_encoder

LORA = LoraSettings(rank=4, alpha=2)
ENCODERS = {
    "timm": ("tiny_vit", {}),
    "open_clip": ("tiny_clip", {}),
    "siglip": ("tiny_siglip", {}),
    "clip": ("tiny_siglip", {"config": {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8,
                                        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
                                        "intermediate_size": 96}}),
    "dinov2": ("tiny_siglip", {"config": {"model_type": "dinov2", "image_size": 32, "patch_size": 8, "hidden_size": 48,
                                          "num_hidden_layers": 2, "num_attention_heads": 3}}),
    "efficientnet": ("tiny_vit", {"model": "test_efficientnet", "config": {}}),
    "resnet": ("tiny_vit", {"model": "test_resnet", "config": {}}),
}  # fmt: skip
PIXELS = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def encoder(name="timm", **more):
    backbone, changes = ENCODERS[name]
    return load_encoder(backbone_settings(backbone, changes | more)).requires_grad_(False).eval()  # as all that encode


def trained(net):
    """Adapters that do something, as after training."""
    draw = torch.Generator().manual_seed(1)
    for name, value in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.5, generator=draw)
    return net


@pytest.mark.parametrize("name", ENCODERS)
def test_untrained_it_is_the_base_bit_for_bit_and_merged_it_is_itself(name, tmp_path):
    bare, adapted = encoder(name), lora.inject(encoder(name), LORA, seed=3)
    with torch.inference_mode():
        assert torch.equal(adapted(PIXELS), bare(PIXELS))
        rows = trained(adapted)(PIXELS)
        assert (rows - bare(PIXELS)).abs().max() > 1e-2 * bare(PIXELS).abs().max()
        lora.save(adapted, checkpoints.state_dict_hash(bare), LORA, tmp_path / "a.safetensors", {})
        merged = lora.merge(encoder(name), tmp_path / "a.safetensors")
        torch.testing.assert_close(merged(PIXELS), rows, atol=1e-5, rtol=1e-5)
        folded = lora.merge_parametrizations(adapted)
        torch.testing.assert_close(folded(PIXELS), rows, atol=1e-5, rtol=1e-5)
    for plain in (merged, folded):
        assert {name for name, _ in plain.named_parameters()} == {name for name, _ in bare.named_parameters()}


@pytest.mark.parametrize("name", ["efficientnet", "resnet"])
def test_of_a_convolutional_network_it_sits_on_the_1x1_convolutions_of_every_stage(name, tmp_path):
    bare = encoder(name)
    expected = {
        key.removesuffix(".weight"): value
        for key, value in bare.named_parameters()
        if value.ndim == 4 and value.shape[2:] == (1, 1) and re.search(r"\.\d+\.", key)
    }
    grouped = {key for key, layer in bare.named_modules() if getattr(layer, "groups", 1) > 1}
    assert set(lora.target_modules(bare)) == set(expected) - grouped
    assert "conv_stem" not in expected
    adapted = trained(lora.inject(encoder(name), LORA, seed=0))
    state = lora.lora_state_dict(adapted)
    assert {key: tuple(value.shape) for key, value in state.items()} == lora.shapes(bare, LORA.rank)
    lora.save(adapted, checkpoints.state_dict_hash(bare), LORA, tmp_path / "a.safetensors", {})
    merged = lora.merge(encoder(name), tmp_path / "a.safetensors")
    first = next(iter(expected))
    change = (state[f"{first}.B"].double() @ state[f"{first}.A"].double() * LORA.alpha / LORA.rank)[..., None, None]
    torch.testing.assert_close(merged.get_parameter(f"{first}.weight"), (expected[first] + change).float())
    with torch.inference_mode():
        own = adapted(PIXELS)
        assert (merged(PIXELS) - own).abs().max() <= 1e-6 * own.abs().max()
        torch.testing.assert_close(lora.load(encoder(name), tmp_path / "a.safetensors")(PIXELS), own, atol=0, rtol=0)


@pytest.mark.parametrize(("name", "layers"), [("timm", 4), ("open_clip", 4), ("siglip", 6), ("clip", 6), ("dinov2", 6)])
def test_it_sits_on_attention_and_perceptron_of_every_block(name, layers):
    net = encoder(name)
    layers_found = lora.target_modules(net)
    assert len(layers_found) == 2 * layers
    if name == "timm":
        assert layers_found[:4] == ["blocks.0.attn.qkv", "blocks.0.attn.proj", "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"]
    if name == "open_clip":
        block = [
            f"transformer.resblocks.0.{layer}" for layer in ("attn.in_proj", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")
        ]
        assert {layer for layer in layers_found if ".0." in layer} == set(block)
    weights = [value for key, value in net.named_parameters() if value.ndim == 2 and re.search(r"\.\d+\.", key)]
    shapes = [value.shape for value in weights]
    adapted = lora.inject(net, LORA, seed=0)
    learning = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert all("lora_" in name for name in learning)
    assert sum(value.numel() for value in lora.lora_state_dict(adapted).values()) == sum(4 * (a + b) for a, b in shapes)


def test_it_starts_as_dda_does():
    state = lora.lora_state_dict(lora.inject(encoder(), LoraSettings(), seed=0))
    again = lora.lora_state_dict(lora.inject(encoder(), LoraSettings(), seed=0))
    other = lora.lora_state_dict(lora.inject(encoder(), LoraSettings(), seed=1))
    for name, value in state.items():
        assert torch.equal(value, again[name])
        if name.endswith("B"):
            assert not value.any()
        else:
            bound = value.shape[1] ** -0.5  # Kaiming with a = sqrt 5
            assert 0.8 * bound < value.abs().max() <= bound
            assert not torch.equal(value, other[name])


def test_the_scale_is_alpha_over_rank(tmp_path):
    bare, settings = encoder(), LoraSettings(rank=8, alpha=1)
    adapted = trained(lora.inject(encoder(), settings, seed=0))
    lora.save(adapted, checkpoints.state_dict_hash(bare), settings, tmp_path / "a.safetensors", {})
    state = lora.lora_state_dict(adapted)
    change = state["blocks.0.mlp.fc1.B"] @ state["blocks.0.mlp.fc1.A"] / 8
    merged = lora.merge(encoder(), tmp_path / "a.safetensors").blocks[0].mlp.fc1.weight
    torch.testing.assert_close(merged, bare.blocks[0].mlp.fc1.weight + change)


def test_a_file_holds_adapters_alone_and_a_backbone_takes_it(tmp_path):
    path, bare = tmp_path / "expert.safetensors", encoder()
    base = checkpoints.state_dict_hash(bare)
    adapted = trained(lora.inject(bare, LORA, seed=0))
    head = {"weight": torch.randn(1, 96), "bias": torch.zeros(1)}
    lora.save(adapted, base, LORA, path, head)
    saved = checkpoints.read(path)
    widths = {"qkv": (96, 288), "proj": (96, 96), "fc1": (96, 192), "fc2": (192, 96)}
    assert sum(value.numel() for value in saved.values()) == 2 * 4 * sum(a + b for a, b in widths.values()) + 97
    assert torch.equal(lora.read_head(path)["weight"], head["weight"])
    with torch.inference_mode():
        rows = adapted(PIXELS)
        torch.testing.assert_close(lora.load(encoder(), path)(PIXELS), rows, atol=0, rtol=0)
        torch.testing.assert_close(encoder(adapter=str(path))(PIXELS), rows, atol=1e-5, rtol=1e-5)
    again = tmp_path / "again.safetensors"
    lora.save(adapted, base, LORA, again, head)
    assert again.read_bytes() == path.read_bytes()


def test_what_it_refuses(tmp_path):
    path, net = tmp_path / "expert.safetensors", encoder()
    base = checkpoints.state_dict_hash(net)
    lora.save(lora.inject(net, LORA, seed=0), base, LORA, path, {})
    with pytest.raises(InputError, match=r"expert\.safetensors: an adapter of another base"):
        encoder(adapter=str(path), seed=1)
    with pytest.raises(InputError, match="no such file"):
        encoder(adapter=str(tmp_path / "none.safetensors"))
    with pytest.raises(InputError, match="LoRA needs an encoder of numbered blocks with linear layers"):
        lora.inject(torch.nn.Linear(2, 2), LORA, seed=0)
    saved = checkpoints.read(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(saved, tmp_path / "bare.safetensors")
    with pytest.raises(InputError, match="no adapter: nothing says of which base"):
        encoder(adapter=str(tmp_path / "bare.safetensors"))
    saved.pop("blocks.1.mlp.fc2.B")
    save_file(saved, tmp_path / "less.safetensors", metadata)
    with pytest.raises(InputError, match=r"missing: blocks\.1\.mlp\.fc2\.B"):
        encoder(adapter=str(tmp_path / "less.safetensors"))


@pytest.mark.parametrize("name", ["timm", "open_clip", "siglip", "efficientnet"])
def test_gradient_checkpointing_gives_the_same_gradients(name):
    layers_found = []
    for checkpointing in (False, True):
        net = trained(lora.inject(encoder(name), LORA, seed=0)).train()
        vit.freeze_batch_norms(net)
        if checkpointing:
            lora.enable_gradient_checkpointing(net)
        net(PIXELS).square().sum().backward()
        layers_found.append([value.grad for value in net.parameters() if value.requires_grad])
    assert all(value is not None for value in layers_found[1])
    torch.testing.assert_close(layers_found[0], layers_found[1])


@pytest.mark.slow
def test_full_size_dinov2_trains_as_many_parameters_as_dda():
    """ViT-L/14 of random weights at 336 px, one step forward and backward."""
    import timm

    net = timm.create_model("vit_large_patch14_dinov2.lvd142m", pretrained=False, num_classes=0, img_size=336)
    adapted = lora.inject(net, LoraSettings(), seed=0)
    learning = [value for value in adapted.parameters() if value.requires_grad]
    assert sum(value.numel() for value in learning) == 3_145_728
    features = adapted(torch.randn(1, 3, 336, 336))
    assert features.shape == (1, 1024)
    features.square().sum().backward()
    assert all(torch.isfinite(value.grad).all() for value in learning)
