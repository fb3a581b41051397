"""What every backbone promises, by name: width, preprocessing, determinism, and no setting that is passed over.

Weights are random: of one block, or of full size on a device without memory. That of ONNX is exported here.
"""

import tempfile
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from skimage import data
from timm.data import create_transform
from torch import nn
from torchvision.transforms import CenterCrop
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings, ConcatSettings, backbone_settings
from aigid.features.encoder import TorchBackbone, load_encoder
from aigid.features.loaders import open_clip as open_clip_loader
from aigid.features.loaders import timm as timm_loader
from aigid.features.loaders import transformers as transformers_loader
from aigid.features.loaders.onnx import OnnxBackbone
from aigid.features.preprocess import resize_and_crop
from aigid.features.registry import BACKBONES
from aigid.features.vit import FeatureHooks
from tests.helpers.onnx_models import export_clip, quantize, random_clip

# Millions of parameters and width of the embedding: open_clip's docs/model_profile.csv for CLIP and So400M (which
# counts the same encoder), the sum of the layers for what is cut off, DINOv2's model card for ViT-L/14.
PUBLISHED = {
    "clip_vit_b16": (86.19, 512),
    "clip_vit_b16_dequantized": (86.19, 512),
    "efficientnet_lite0": (4.652008 - 1281 * 1000 / 1e6, 1280),  # of timm's, less the classifier
    "efficientnet_lite0_96": (4.652008 - 1281 * 1000 / 1e6, 24 + 40 + 80 + 112),  # of its stages 1 to 4
    "clip_vit_l14": (303.97, 768),
    "clip_vit_l14_center": (303.97, 768),
    "clip_vit_l14_336": (304.29, 768),
    "clip_vit_l14_336_before_projection": (304.29 - 1024 * 768 / 1e6, 1024),
    "featdistill_clip": (303.97, 768),
    "featdistill_siglip": (428.23, 1152),
    "siglip_b16": (92.88, 768),
    "siglip_so400m_14_384": (428.23, 1152),
    "dinov2_vit_l14": (304.37, 1024),
    "dinov2_vit_l14_dda": (304.37 - 1024 * (37**2 - 24**2 + 1) / 1e6, 1024),  # positions for 336 px, and no mask token
    "dinov2_vit_l14_reg": (304.37 + (4 - 1) * 1024 / 1e6, 1024),  # four registers, no mask token
    "metaclip2_h14": (632.08, 1024),
    "siglip2_so400m_14_384": (428.23, 1152),
}
# As their publishers round them: millions of parameters, width, and the step of the rounding (PE's README, DINOv3's
# README, SigLIP 2's paper).
ROUNDED = {
    "pe_core_t16_384": (10, 512, 10),
    "pe_core_s16_384": (20, 512, 10),
    "pe_core_b16": (90, 1024, 10),
    "pe_core_l14_336": (320, 1024, 10),
    "pe_core_g14_448": (1880, 1280, 10),
    "dinov3_vit_s16": (21, 384, 2),
    "dinov3_vit_b16": (86, 768, 1),
    "dinov3_vit_l16": (300, 1024, 10),
    "dinov3_vit_h_plus16": (840, 1280, 10),
    "dinov3_vit_7b16": (6716, 4096, 1),
    "siglip2_gopt_16_384": (1160, 1536, 10),
}
SHRUNK = {  # the width of a small copy of the largest, whose blocks are narrower, too
    "dinov3_vit_7b16": 256,
    "dinov3_vit_h_plus16": 256,
    "pe_core_g14_448": 1280,
    "siglip2_gopt_16_384": 256,
}
SHRUNK_IN_OPEN_CLIP = ("PE-Core-bigG-14-448", "ViT-gopt-16-SigLIP2-384")
TOKEN_WIDTHS = {  # of the blocks, where it is not the embedding's width
    "clip_vit_b16": 768,
    "clip_vit_b16_dequantized": 768,
    "clip_vit_l14": 1024,
    "clip_vit_l14_center": 1024,
    "clip_vit_l14_336": 1024,
    "featdistill_clip": 1024,
    "metaclip2_h14": 1280,
    "pe_core_t16_384": 192,
    "pe_core_s16_384": 384,
    "pe_core_b16": 768,
    "pe_core_g14_448": 1536,
    "efficientnet_lite0": 320,  # of its last stage
    "efficientnet_lite0_96": 320,
}
ONNX = "clip_vit_b16_int8"
TINY = {"tiny_clip": 192, "tiny_siglip": 192, "tiny_clip_64": 64, "tiny_siglip_64": 64, "tiny_vit": 96}
WIDTHS = TINY | {ONNX: 512} | {name: values[1] for name, values in (PUBLISHED | ROUNDED).items()}
NAMES = list(BACKBONES)
OTHERS = ("clip_vit_l14_center", "dinov2_vit_l14_dda", "efficientnet_lite0_96")  # by preprocessing of their own
RECORDED = [  # whose library has a record of its preprocessing
    name
    for name, section in BACKBONES.items()
    if section["library"] in ("open_clip", "timm") and "config" not in section and name not in OTHERS
]
CPU = torch.device("cpu")
POOLS = get_args(BackboneSettings.model_fields["pool"].annotation)


def full_config(settings: BackboneSettings) -> dict[str, Any]:
    library = open_clip_loader if settings.library == "open_clip" else transformers_loader
    return settings.config or library.architecture(settings.model)


def one_block(name: str, **changes: object) -> BackboneSettings:
    """The settings of a backbone of random weights with a single block, for images of 4 x 4 patches."""
    settings = backbone_settings(name, changes)
    assert not isinstance(settings, ConcatSettings)
    if settings.library == "onnx":
        return settings.model_copy(update={"weights": str(exported_clip(settings.seed))})
    if settings.model == "tf_efficientnet_lite0":  # as small as a single block of the others
        size, config = 64, {}
    elif settings.library == "timm":
        config = settings.config or {}
        size = 4 * config.get("patch_size", 14 if "patch14" in settings.model else 16)
        config = config | {"depth": 1, "img_size": size}
        if name in SHRUNK:
            config |= {"embed_dim": 256, "num_heads": 4}
    elif settings.library == "open_clip":
        config = full_config(settings)
        vision, text = config["vision_cfg"], config["text_cfg"] | {"vocab_size": 16, "layers": 1}
        size = 4 * vision.get("patch_size", 14 if "patch14" in vision.get("timm_model_name", "") else 16)
        config = config | {"vision_cfg": vision | {"layers": 1, "image_size": size}, "text_cfg": text}
    else:
        config = full_config(settings)
        size = 4 * config.get("patch_size", 16)
        config = config | {"num_hidden_layers": 1, "image_size": size}
    preprocess = settings.preprocess.model_copy(update={"size": size})
    return settings.model_copy(update={"config": config, "preprocess": preprocess, "pretrained": None})


@cache
def exported_clip(seed: int) -> Path:
    """One block of OpenAI's ViT-B/16 with random weights, quantized to int8."""
    config = transformers_loader.architecture("openai/clip-vit-base-patch16") | {"num_hidden_layers": 1}
    folder = Path(tempfile.mkdtemp())
    return quantize(export_clip(random_clip(config, seed), folder / "clip.onnx"), folder / "clip.int8.onnx")


@cache
def image(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)


def embed(settings: BackboneSettings) -> np.ndarray:
    if settings.library == "onnx":
        return OnnxBackbone(settings).encode(image(settings.preprocess.size))
    with pytest.MonkeyPatch.context() as patch:  # open_clip hands no depth to timm
        shape = {"embed_dim": 256, "num_heads": 4} if settings.model in SHRUNK_IN_OPEN_CLIP else {}
        small = partial(timm.create_model, depth=1, img_size=settings.preprocess.size, **shape)
        patch.setattr(open_clip.timm_model, "timm", SimpleNamespace(create_model=small))
        return TorchBackbone(settings, CPU).encode(image(settings.preprocess.size))


def equal_pools(name: str) -> set[frozenset[str]]:
    """The pools that are one by their meaning: what a library gives, or projects, is itself a pool of the tokens."""
    settings = backbone_settings(name)
    if name.startswith("tiny_clip"):  # open_clip's `pool_type: avg` projects the mean of the tokens
        return {frozenset({"before_projection", "mean"})}
    if "timm_model_name" in (full_config(settings)["vision_cfg"] if settings.library == "open_clip" else {}):
        return set()  # attention pools the tokens
    if settings.library == "open_clip" or ("clip" in name and settings.library == "transformers"):
        return {frozenset({"before_projection", "cls"})}  # CLIP projects the class token after the last norm
    if name.startswith("dinov3"):  # timm's own is the mean of the patch tokens
        return {frozenset({"own", "mean"})}
    if name.startswith(("dinov2", "tiny_vit")):  # their own embedding is the class token
        return {frozenset({"own", "cls"})}
    return set()


@pytest.mark.parametrize("name", NAMES)
def test_its_rows_are_as_wide_as_published_and_decided_by_the_seed(name):
    settings = one_block(name)
    torch.manual_seed(1)
    rows = embed(settings)
    torch.manual_seed(2)
    np.testing.assert_array_equal(embed(settings), rows)
    assert rows.dtype == np.float32
    assert rows.shape == (1, SHRUNK.get(name, WIDTHS[name]))
    assert np.isfinite(rows).all()
    assert not np.allclose(embed(one_block(name, seed=1)), rows)


@pytest.mark.parametrize("name", NAMES)
def test_a_pool_gives_its_rows_or_is_refused(name):
    rows = {}
    for pool in POOLS:
        try:
            rows[pool] = embed(one_block(name, pool=pool))
        except InputError as error:
            assert f"pool: {pool}" in str(error)  # noqa: PT017
    assert backbone_settings(name).pool in rows
    if "cls_mean" in rows:
        np.testing.assert_allclose(rows["cls_mean"], np.hstack([rows["cls"], rows["mean"]]), atol=1e-6)
    equal = {frozenset({a, b}) for a, b in combinations(rows, 2) if np.array_equal(rows[a], rows[b])}
    assert equal == equal_pools(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_cannot_honour_is_refused(name, tmp_path):
    with pytest.raises(InputError, match=rf"backbones\.{name}\.dtype: .*'bfloat16'"):
        backbone_settings(name, {"dtype": "bfloat16"})
    if name == ONNX:
        with pytest.raises(InputError, match="nowhere: no such file"):
            OnnxBackbone(backbone_settings(name, {"weights": str(tmp_path / "nowhere")}))
        for setting, value in {"high_pass": True, "adapter": "a", "config": {}, "precision": "auto"}.items():
            with pytest.raises(InputError, match=f"{setting}: not for library: onnx"):
                backbone_settings(name, {setting: value})
        return
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        load_encoder(backbone_settings(name, {"weights": str(tmp_path / "nowhere"), "high_pass": False}))
    with pytest.raises(InputError, match="high_pass is for encoders of random weights"):
        load_encoder(backbone_settings(name, {"weights": str(tmp_path), "high_pass": True}))


def full_size(name: str, **changes: object) -> nn.Module:
    """A backbone's network as its library configures it, without memory, for images of its size."""
    settings = backbone_settings(name, changes)
    with torch.device("meta"):
        if settings.library != "timm":
            return load_encoder(settings.model_copy(update={"config": full_config(settings)})).eval()
        network = timm_loader.build(settings).eval()
        if settings.pool != "own":
            FeatureHooks(network, settings.layers, settings.pool)
        return network


@pytest.mark.parametrize("name", PUBLISHED | ROUNDED)
def test_sizes_are_the_published_and_layers_and_pools_as_wide_as_the_blocks(name):
    network, side = full_size(name), backbone_settings(name).preprocess.size
    pixels = torch.empty(1, 3, side, side, device="meta")
    millions, width = (PUBLISHED | ROUNDED)[name][:2]
    number = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert number == pytest.approx(millions, abs=ROUNDED[name][2] / 2 if name in ROUNDED else 0.006)
    assert network(pixels).shape == (1, width)
    tokens = TOKEN_WIDTHS.get(name, width)
    first = 16 if name.startswith("efficientnet") else tokens
    FeatureHooks(network, [0, -1], "mean")  # of several hooks the last one's features count
    assert network(pixels).shape == (1, first + tokens)
    FeatureHooks(network, [0], "cls_mean")
    if name.startswith(("efficientnet", "pe_core_g14")) or "siglip" in name:
        with pytest.raises(InputError, match=r"pool: cls_mean: .* class token; want mean"):
            network(pixels)
    else:
        assert network(pixels).shape == (1, 2 * tokens)
    with pytest.raises(InputError, match=r"layer 99: the encoder has \d+ blocks"):
        FeatureHooks(network, [99], "mean")


@pytest.mark.parametrize("name", ["clip_vit_b16", "metaclip2_h14", "pe_core_t16_384", "pe_core_g14_448"])
def test_before_the_projection_the_embedding_is_as_wide_as_the_blocks(name):
    side = backbone_settings(name).preprocess.size
    network = full_size(name, pool="before_projection")
    assert network(torch.empty(1, 3, side, side, device="meta")).shape == (1, TOKEN_WIDTHS[name])


def library_transform(settings: BackboneSettings) -> Any:
    """The library's own function from an image to normalized pixels, by its own record of the model."""
    if settings.library == "timm":
        record = timm.data.resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(settings.model).to_dict())
        return timm.data.create_transform(**record)
    record = open_clip.get_pretrained_cfg(settings.model, settings.pretrained)
    size = full_config(settings)["vision_cfg"]["image_size"]
    wanted = merge_preprocess_dict(PreprocessCfg(size=size), {k: v for k, v in record.items() if v is not None})
    return image_transform_v2(PreprocessCfg(**wanted), is_train=False)


@pytest.mark.parametrize("name", RECORDED)
def test_preprocessing_is_the_librarys_record(name):
    settings = backbone_settings(name)
    photograph = data.chelsea()
    ours = resize_and_crop(photograph, settings.preprocess)
    theirs = library_transform(settings)(Image.fromarray(photograph)).permute(1, 2, 0)
    normalized = (ours / 255 - settings.preprocess.mean) / np.array(settings.preprocess.std)
    np.testing.assert_allclose(normalized, theirs, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if BACKBONES[name]["library"] == "open_clip"])
def test_openais_weights_meet_quick_gelu(name):
    settings = backbone_settings(name)
    assert open_clip.get_pretrained_cfg(settings.model, settings.pretrained)["quick_gelu"]
    kinds = {type(module) for module in load_encoder(one_block(name)).modules()}
    assert open_clip.transformer.QuickGELU in kinds
    assert nn.GELU not in kinds


IMAGES = {
    "astronaut": data.astronaut()[:371, :],
    "chelsea": data.chelsea(),  # 300 x 451
    "coffee": data.coffee()[:, 1:],
    "rocket": data.rocket()[3:, :],
    "tall": data.astronaut()[:, 100:201],
}
PREPROCESSES = {backbone_settings(name).preprocess: name for name in NAMES}


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("name", PREPROCESSES.values())
def test_preprocessing_is_the_librarys(name, image):
    pixels, preprocess = IMAGES[image], backbone_settings(name).preprocess
    ours = resize_and_crop(pixels, preprocess)
    if preprocess.resize == "none":
        theirs = CenterCrop(preprocess.size)(torch.from_numpy(pixels.copy()).permute(2, 0, 1)).permute(1, 2, 0)
        np.testing.assert_array_equal(ours, theirs)
        return
    if preprocess.interpolation != "bicubic":
        return  # of one library alone, whose record is checked above
    mean, std = preprocess.mean, preprocess.std
    if preprocess.crop_fraction < 1:
        size, share = preprocess.size, preprocess.crop_fraction
        transform = create_transform(size, crop_pct=share, mean=mean, std=std, interpolation=preprocess.interpolation)
    else:
        transform = open_clip.image_transform(
            preprocess.size, is_train=False, mean=mean, std=std, resize_mode=preprocess.resize, interpolation="bicubic"
        )
    normalized = transform(Image.fromarray(pixels)).permute(1, 2, 0)
    np.testing.assert_allclose((ours / 255 - mean) / np.array(std), normalized, atol=1e-6)
    if preprocess.crop_fraction < 1:
        return
    plain = {"resample": 3, "do_rescale": False, "do_normalize": False}
    if preprocess.resize == "squash":
        processor = SiglipImageProcessorPil(size={"height": preprocess.size, "width": preprocess.size}, **plain)
    else:  # transformers cuts an odd rest half a pixel away from where OpenAI and torchvision cut it
        processor = CLIPImageProcessorPil(size={"shortest_edge": preprocess.size}, do_center_crop=False, **plain)
    resized = torch.from_numpy(np.array(processor(Image.fromarray(pixels))["pixel_values"][0]))
    np.testing.assert_array_equal(ours, CenterCrop(preprocess.size)(resized).permute(1, 2, 0))


@pytest.mark.acceptance
def test_the_largest_runs():
    settings = backbone_settings("siglip_so400m_14_384")
    backbone = TorchBackbone(settings.model_copy(update={"config": full_config(settings)}), CPU)
    backbone.choose_batch(1, 1)  # without companions that fill a batch
    rows = backbone.encode(np.stack([resize_and_crop(data.chelsea(), settings.preprocess)]))
    assert rows.shape == (1, 1152)
    assert np.isfinite(rows).all()
    assert rows.std() > 0
