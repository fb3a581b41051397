"""Local checkpoints of PE-Core, DINOv3 and SigLIP 2 in their publishers' names give the source model's embedding."""

import json
from functools import partial
from types import SimpleNamespace

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import load_encoder
from tests.helpers.tiny_models import CLIP, SIGLIP

PIXELS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """open_clip hands no shape to timm."""
    monkeypatch.setattr(open_clip.timm_model, "timm", SimpleNamespace(create_model=partial(timm.create_model, **SMALL)))


def randomize(model, seed=0):
    """Make biases, norms and scales random, too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def embed(library, path, model="tiny", config=None, **changes):
    settings = BackboneSettings(
        library=library, model=model, weights=str(path), config=config, preprocess={"size": 32}, **changes
    )
    with torch.inference_mode():
        return load_encoder(settings).eval()(PIXELS)


def assert_same(embedding, expected):
    assert embedding.shape == expected.shape
    assert (1 - functional.cosine_similarity(embedding, expected) < 1e-6).all()
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


def rename(state, *pairs):
    """Replace parts of the names, in order."""
    renamed = {}
    for name, value in state.items():
        for old, new in pairs:
            name = name.replace(old, new)
        renamed[name] = value.clone()
    return renamed


def attention_pool(state):
    """Join query, key and value of timm's pooling by attention, as torch's MultiheadAttention has them."""
    joined = {name: value for name, value in state.items() if ".q." not in name and ".kv." not in name}
    for end in ("weight", "bias"):
        joined[f"attn_pool.in_proj_{end}"] = torch.cat([state[f"attn_pool.{part}.{end}"] for part in ("q", "kv")])
    return joined


def clip(vision):
    """A whole CLIP of open_clip around one of timm's small encoders, as its configuration and its random model."""
    config = CLIP | {"vision_cfg": {"image_size": 32, "timm_pool": "map"} | vision, "custom_text": True}
    model = open_clip.CustomTextCLIP(**{name: value for name, value in config.items() if name != "custom_text"})
    return config, randomize(model)


def in_metas_names(trunk):
    """PE-Core's image encoder by the names of Meta's perception_models."""
    state = attention_pool(trunk.state_dict())
    class_token, positions, head = (state.pop(name) for name in ("cls_token", "pos_embed", "head.weight"))
    state.pop("head.bias")
    state = rename(
        state,
        ("attn_pool.latent", "attn_pool.probe"),
        ("attn_pool.proj", "attn_pool.attn.out_proj"),
        ("attn_pool.in_proj", "attn_pool.attn.in_proj"),
        ("attn_pool.norm", "attn_pool.layernorm"),
        ("patch_embed.proj", "conv1"),
        ("norm_pre", "ln_pre"),
        (".norm1", ".ln_1"),
        (".norm2", ".ln_2"),
        ("blocks.", "transformer.resblocks."),
        ("attn.qkv.", "attn.in_proj_"),
        ("attn.proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
    )
    state = {
        name if not name.startswith("norm.") else name.replace("norm.", "ln_post."): v for name, v in state.items()
    }
    state |= {"class_embedding": class_token[0, 0], "positional_embedding": positions[0], "proj": head.T.contiguous()}
    return {f"visual.{name}": value for name, value in state.items()}


@pytest.mark.parametrize("pool", ["own", "before_projection", "cls_mean"])
def test_pe_core(pool, tmp_path):
    config, model = clip({"timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_proj": None})
    trunk = model.visual.trunk
    with torch.no_grad():
        trunk.head.bias.zero_()  # PE has none
    save_file(model.state_dict(), tmp_path / "open_clip.safetensors")
    text = {"text_projection": torch.ones(2, 2), "logit_scale": torch.ones([])}
    torch.save(in_metas_names(trunk) | text, tmp_path / "PE-Core.pt")
    save_file(trunk.state_dict(), tmp_path / "timm.safetensors")
    with torch.inference_mode():
        tokens = trunk.forward_features(PIXELS)
        features = trunk.forward_head(tokens, pre_logits=True)
        expected = {
            "own": trunk.head(features),
            "before_projection": features,
            "cls_mean": torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1),
        }[pool]
    for file in ("open_clip.safetensors", "PE-Core.pt"):
        assert_same(embed("open_clip", tmp_path / file, config=config, pool=pool), expected)
    wanted = {"own": features, "cls_mean": expected}.get(pool)  # timm's encoder ends before the projection
    for file in ("timm.safetensors", "PE-Core.pt", "open_clip.safetensors") if wanted is not None else ():
        rows = embed("timm", tmp_path / file, "vit_pe_core_tiny_patch16_384", SMALL, pool=pool)
        assert_same(rows, wanted)


def test_a_pe_core_that_does_not_fit(tmp_path):
    config, model = clip({"timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_proj": None})
    state = in_metas_names(model.visual.trunk)
    del state["visual.ln_post.weight"]
    torch.save(state, tmp_path / "PE-Core.pt")
    with pytest.raises(InputError, match=r"PE-Core\.pt: do not fit this model; keys missing: norm\.weight$"):
        embed("open_clip", tmp_path / "PE-Core.pt", config=config)


DINOV3 = {
    "model_type": "dinov3_vit",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_register_tokens": 4,
    "query_bias": False,
    "value_bias": False,
}


def dinov3_in_transformers_names(state):
    state = dict(state)
    for block in range(SMALL["depth"]):
        parts = state.pop(f"blocks.{block}.attn.qkv.weight").chunk(3)
        for part, value in zip("qkv", parts, strict=True):
            state[f"layer.{block}.attention.{part}_proj.weight"] = value
    renamed = rename(
        state,
        ("blocks.", "layer."),
        ("attn.proj", "attention.o_proj"),
        ("gamma_1", "layer_scale1.lambda1"),
        ("gamma_2", "layer_scale2.lambda1"),
        ("mlp.fc1", "mlp.up_proj"),
        ("mlp.fc2", "mlp.down_proj"),
        ("cls_token", "embeddings.cls_token"),
        ("reg_token", "embeddings.register_tokens"),
        ("patch_embed.proj", "embeddings.patch_embeddings"),
    )
    return renamed | {"embeddings.mask_token": torch.zeros(1, 1, 32)}


def dinov3_in_metas_names(state):
    renamed = rename(state, ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"), ("reg_token", "storage_tokens"))
    for block in range(SMALL["depth"]):  # biases that are zero, and a mask of that of the keys
        renamed[f"blocks.{block}.attn.qkv.bias"] = torch.zeros(96)
        renamed[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(96)
    return renamed | {"mask_token": torch.zeros(1, 32), "rope_embed.periods": torch.ones(4)}


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_dinov3(pool, tmp_path, capsys):
    name = "vit_small_patch16_dinov3"
    source = randomize(timm.create_model(name, num_classes=0, global_pool="token", **SMALL))
    save_file(source.state_dict(), tmp_path / "timm.safetensors")
    torch.save(dinov3_in_metas_names(source.state_dict()), tmp_path / "dinov3.pth")
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(dinov3_in_transformers_names(source.state_dict()), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(DINOV3))
    with torch.inference_mode():
        tokens = source.forward_features(PIXELS)
    expected = {"cls": tokens[:, 0], "mean": tokens[:, 5:].mean(dim=1)}[pool]
    for file in ("timm.safetensors", "dinov3.pth"):
        assert_same(embed("timm", tmp_path / file, name, SMALL, pool=pool), expected)
    for path in (folder, folder / "model.safetensors"):
        assert_same(embed("transformers", path, pool=pool), expected)
    assert_same(embed("timm", tmp_path / "dinov3.pth", name, SMALL), tokens[:, 5:].mean(dim=1))  # timm's own
    assert_same(embed("transformers", folder), tokens[:, 0])
    assert capsys.readouterr().out == ""


def siglip_in_transformers_names(trunk):
    state = attention_pool(trunk.state_dict())
    for block in range(SMALL["depth"]):
        for end in ("weight", "bias"):
            parts = state.pop(f"blocks.{block}.attn.qkv.{end}").chunk(3)
            for part, value in zip("qkv", parts, strict=True):
                state[f"encoder.layers.{block}.self_attn.{part}_proj.{end}"] = value
    state["embeddings.position_embedding.weight"] = state.pop("pos_embed")[0]
    state = {name if not name.startswith("norm.") else f"post_layer{name}": v for name, v in state.items()}
    state = rename(
        state,
        ("attn_pool.latent", "head.probe"),
        ("attn_pool.proj", "head.attention.out_proj"),
        ("attn_pool.in_proj", "head.attention.in_proj"),
        ("attn_pool.norm", "head.layernorm"),
        ("attn_pool.mlp", "head.mlp"),
        ("blocks.", "encoder.layers."),
        (".norm1", ".layer_norm1"),
        (".norm2", ".layer_norm2"),
        (".attn.proj", ".self_attn.out_proj"),
        ("patch_embed.proj", "embeddings.patch_embedding"),
    )
    return {f"vision_model.{name}": value for name, value in state.items()}


@pytest.mark.parametrize("pool", ["own", "mean"])
def test_siglip2(pool, tmp_path):
    name = "vit_giantopt_patch16_siglip_384"
    config, model = clip({"timm_model_name": name, "timm_proj": "none"})
    trunk = model.visual.trunk
    save_file(model.state_dict(), tmp_path / "open_clip.safetensors")
    save_file(trunk.state_dict(), tmp_path / "timm.safetensors")
    folder = tmp_path / "hub"
    folder.mkdir()
    text = {"text_model.head.weight": torch.ones(2, 2), "logit_scale": torch.ones(1), "logit_bias": torch.ones(1)}
    save_file(siglip_in_transformers_names(trunk) | text, folder / "model.safetensors", {"format": "pt"})
    mlp = trunk.blocks[0].mlp.fc1.out_features
    vision = SIGLIP | {"intermediate_size": mlp, "hidden_act": "gelu_pytorch_tanh"}
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip", "vision_config": vision}))
    with torch.inference_mode():
        tokens = trunk.forward_features(PIXELS)
        expected = {"own": trunk.forward_head(tokens), "mean": tokens.mean(dim=1)}[pool]
    assert_same(embed("open_clip", tmp_path / "open_clip.safetensors", config=config, pool=pool), expected)
    for file in ("timm.safetensors", "open_clip.safetensors"):
        assert_same(embed("timm", tmp_path / file, name, SMALL, pool=pool), expected)
    for path in (folder, folder / "model.safetensors"):
        assert_same(embed("transformers", path, pool=pool), expected)


def test_big_visions_arrays_are_refused(tmp_path):
    (tmp_path / "siglip2.npz").write_bytes(b"")
    config, _ = clip({"timm_model_name": "vit_giantopt_patch16_siglip_384", "timm_proj": "none"})
    with pytest.raises(InputError, match=r"siglip2\.npz: big_vision's arrays are not read here"):
        embed("open_clip", tmp_path / "siglip2.npz", config=config)
