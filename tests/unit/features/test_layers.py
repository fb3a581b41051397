"""`layers` and `pool` of every library, against the library's own intermediate outputs."""

import pytest
import torch
import transformers

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.encoder import load_encoder
from tests.helpers.tiny_models import CLIP, CLIP_VISION, DINOV2, SIGLIP

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LAYERS = [1, 0]
SHAPE = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CONVNEXT = {"model_type": "dinov3_convnext", "hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1]}
TRANSFORMERS = {  # by model_type: configuration, tokens before those of the patches, the norm after the last block
    "clip_vision_model": (CLIP_VISION, 1, "vision_model.post_layernorm"),
    "siglip_vision_model": (SIGLIP, 0, "post_layernorm"),
    "siglip2_vision_model": (SIGLIP | {"num_patches": 16}, 0, "post_layernorm"),
    "metaclip_2_vision_model": (CLIP_VISION, 1, "vision_model.post_layernorm"),
    "dinov2": (DINOV2, 1, "layernorm"),
    "dinov2_with_registers": (DINOV2 | {"num_register_tokens": 4}, 5, "layernorm"),
    "dinov3_vit": (SHAPE | {"intermediate_size": 64, "num_register_tokens": 4}, 5, "norm"),
    "aimv2_vision_model": (SHAPE | {"intermediate_size": 64}, 0, "rms_norm"),
    "radio": (SHAPE | {"mlp_ratio": 2.0, "num_cls_tokens": 3, "num_registers": 7, "patch_dim": 192}, 10, None),
    "dinov3_convnext": (CONVNEXT, None, None),
}


def load(library, config, **changes):
    model = changes.pop("model", "tiny")
    settings = BackboneSettings(
        library=library, model=model, config=config, preprocess={"size": PIXELS.shape[2]}, **changes
    )
    return load_encoder(settings).eval()


def parts(tokens, num_prefix):
    """Class token and mean of the others; of feature maps their mean."""
    if num_prefix is None:
        return {"mean": tokens.mean(dim=(2, 3))}
    made = {"mean": tokens[:, num_prefix:].mean(dim=1)}
    return made | ({"cls": tokens[:, 0]} if num_prefix else {})


def check(library, config, blocks, last, num_prefix, **changes):
    """Compare with the blocks' outputs, and with the last one's after the norm."""
    for pool in ("cls", "mean", "cls_mean"):
        names = pool.split("_")
        if num_prefix in (None, 0) and "cls" in names:
            with pytest.raises(InputError, match=f"pool: {pool}: .* no class token; want mean"), torch.inference_mode():
                load(library, config, layers=LAYERS, pool=pool, **changes)(PIXELS)
            continue
        with torch.inference_mode():
            ours = load(library, config, layers=LAYERS, pool=pool, **changes)(PIXELS)
            negative = load(library, config, layers=[n - len(blocks) for n in LAYERS], pool=pool, **changes)(PIXELS)
            without = load(library, config, pool=pool, **changes)(PIXELS)
        expected = torch.cat([parts(blocks[n], num_prefix)[name] for n in LAYERS for name in names], dim=1)
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(negative, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            without, torch.cat([parts(last, num_prefix)[name] for name in names], dim=1), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_transformers(kind):
    config, num_prefix, norm = TRANSFORMERS[kind]
    config = config | {"model_type": kind}
    model = load("transformers", config)
    arguments = {"pixel_values": PIXELS}
    if kind == "siglip2_vision_model":  # its own processor cuts the patches
        processor = transformers.Siglip2ImageProcessorPil(
            do_resize=False, do_rescale=False, do_normalize=False, patch_size=8, max_num_patches=16
        )
        arguments = dict(processor(list(PIXELS.numpy()), return_tensors="pt", input_data_format="channels_first"))
    with torch.inference_mode():
        output = model.model(**arguments, output_hidden_states=True)
        states = output.hidden_states[-2:] if kind != "dinov3_convnext" else output.hidden_states[-4:]
        last = states[-1] if norm is None else model.model.get_submodule(norm)(states[-1])
        torch.testing.assert_close(model(PIXELS), output[model.output])
    check("transformers", config, states, last, num_prefix)


TIMM = {  # name: small shape, tokens before those of the patches
    "vit_base_patch16_224": ({"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}, 1),
    "vit_base_patch16_siglip_224": ({"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}, 0),
    "vit_large_patch14_reg4_dinov2": ({"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}, 5),
    "vit_small_patch16_dinov3": ({"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}, 5),
    "vit_pe_core_tiny_patch16_384": ({"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8}, 1),
    "convnext_atto": ({"dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1)}, None),
    "resnet18": ({}, None),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    config, num_prefix = TIMM[name]
    network = load("timm", config, model=name)
    with torch.inference_mode():
        if num_prefix is None:
            blocks = network.forward_intermediates(PIXELS, intermediates_only=True)[-4:]
            last = blocks[-1]
        else:
            options = {"output_fmt": "NLC", "return_prefix_tokens": True, "intermediates_only": True}
            blocks, last = (
                [
                    torch.cat([output[1], output[0]], dim=1) if isinstance(output, tuple) else output
                    for output in network.forward_intermediates(PIXELS, norm=norm, **options)
                ]
                for norm in (False, True)
            )
            last = last[-1]
    check("timm", config, blocks, last, num_prefix, model=name)


def test_stages_of_efficientnet():
    network = load("timm", {}, model="tf_efficientnet_lite0")
    with torch.inference_mode():
        stem = network.bn1(network.conv_stem(PIXELS))
        blocks = [network.blocks[: number + 1](stem) for number in range(len(network.blocks))]
    assert len(blocks) == 7
    check("timm", {}, blocks, blocks[-1], None, model="tf_efficientnet_lite0")


@pytest.mark.parametrize("pool_type", ["tok", "avg"])
def test_open_clip(pool_type):
    config = CLIP | {"vision_cfg": CLIP["vision_cfg"] | {"pool_type": pool_type}}
    network = load("open_clip", config)
    options = {"output_fmt": "NLC", "output_extra_tokens": True, "intermediates_only": True}
    with torch.inference_mode():
        blocks, normed = (
            network.forward_intermediates(PIXELS, normalize_intermediates=norm, **options) for norm in (False, True)
        )
    joined = [
        [
            torch.cat(pair, dim=1)
            for pair in zip(out["image_intermediates_prefix"], out["image_intermediates"], strict=True)
        ]
        for out in (blocks, normed)
    ]
    check("open_clip", config, joined[0], joined[1][-1], 1)


def test_timms_encoders_in_open_clip_and_their_projection():
    vision = {"timm_model_name": "test_vit", "image_size": 160, "timm_pool": "token", "timm_proj": None}
    config = CLIP | {"vision_cfg": vision, "custom_text": True}
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own, before, cls = (load("open_clip", config, pool=pool) for pool in ("own", "before_projection", "cls"))
        embedding, features = own(pixels), before(pixels)
        assert (embedding.shape[1], features.shape[1]) == (24, 64)
        torch.testing.assert_close(own.trunk.head(features), embedding)
        torch.testing.assert_close(cls(pixels), features)
    for changes in ({"timm_proj": "none"}, {"timm_proj": "", "timm_pool": "rot_attn", "timm_model_name": "resnet18"}):
        with pytest.raises(InputError, match="pool: before_projection: it has no linear projection; want own"):
            load("open_clip", config | {"vision_cfg": vision | changes}, pool="before_projection")
    linear = config | {"vision_cfg": vision | {"timm_proj": "linear"}}
    with torch.inference_mode():
        own, before = (load("open_clip", linear, pool=pool) for pool in ("own", "before_projection"))
        torch.testing.assert_close(own.head(before(pixels)), own(pixels))


@pytest.mark.parametrize("model", ["mixer_s32_224", "vgg11"])
def test_where_there_are_no_such_blocks_it_is_refused(model):
    settings = BackboneSettings(
        library="timm", model=model, config={}, layers=[0], pool="mean", preprocess={"size": 224}
    )
    with pytest.raises(InputError, match=r"want (pool: )?own"), torch.inference_mode():
        load_encoder(settings).eval()(torch.zeros(1, 3, 224, 224))


def test_a_model_without_an_embedding_of_its_own():
    config = TRANSFORMERS["aimv2_vision_model"][0] | {"model_type": "aimv2_vision_model", "use_head": False}
    with pytest.raises(InputError, match="pool: own: this aimv2_vision_model has no embedding of its own; want mean"):
        load("transformers", config)
    with torch.inference_mode():
        assert load("transformers", config, pool="mean")(PIXELS).shape == (2, 32)


def test_a_configuration_that_is_none():
    with pytest.raises(InputError, match=r"tiny: config: .*Field 'hidden_size' expected int"):
        load("transformers", CLIP_VISION | {"hidden_size": "wide"})


def test_addresses_and_near_names():
    lite = backbone_settings("timm:tf_efficientnet_lite0.in1k")
    assert (lite.preprocess.size, lite.preprocess.crop_fraction) == (224, 0.875)
    core = backbone_settings("open_clip:PE-Core-T-16-384/meta", {"preprocess": {"size": 224}})
    assert core.preprocess.model_dump(include={"size", "resize", "interpolation", "mean"}) == {
        "size": 224,
        "resize": "squash",
        "interpolation": "bilinear",
        "mean": (0.5,) * 3,
    }
    for address, near in {
        "timm:tf_efficientnet_lite_0": "tf_efficientnet_lite0",
        "open_clip:PE-Core-L-16-336/meta": "PE-Core-L-14-336",
    }.items():
        with pytest.raises(InputError, match=f"knows no model .*; near: .*{near}"):
            backbone_settings(address)
    with pytest.raises(InputError, match=r"open_clip has no weights 'mata' of PE-Core-T-16-384; known: \['meta'\]"):
        backbone_settings("open_clip:PE-Core-T-16-384/mata")
    with pytest.raises(InputError, match=r"or an address: open_clip:MODEL/TAG, timm:NAME, hf:REPO\[@REVISION\]"):
        backbone_settings("torchhub:dinov2")
