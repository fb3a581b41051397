"""The published backbones, built from their configurations without a hub."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn
from torchvision.transforms import CenterCrop
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from aigid.features.backbones import backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.loaders import open_clip as through_open_clip
from aigid.features.loaders import transformers as through_transformers
from aigid.features.preprocess import resize_and_crop

# Millions of parameters of the image tower and width of the embedding: open_clip's docs/model_profile.csv for CLIP and
# So400M (which counts the same tower), the sum of the layers for what is cut off, DINOv2's model card for ViT-L/14.
PUBLISHED = {
    "clip_vit_b16": (86.19, 512),
    "clip_vit_l14": (303.97, 768),
    "clip_vit_l14_336": (304.29, 768),
    "clip_vit_l14_336_before_projection": (304.29 - 1024 * 768 / 1e6, 1024),
    "siglip_b16": (92.88, 768),
    "siglip_so400m_14_384": (428.23, 1152),
    "dinov2_vit_l14": (304.37, 1024),
}


def library(settings):
    return through_open_clip if settings.library == "open_clip" else through_transformers


def built(name):
    """The settings of a backbone that draws its full-size tower at random."""
    settings = backbone_settings(name)
    return settings.model_copy(update={"config": library(settings).architecture(settings.model)})


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_the_published(name):
    settings = built(name)
    with torch.device("meta"):
        tower = library(settings).load(settings).eval()
        size = settings.preprocess.size
        embedding = tower(torch.empty(1, 3, size, size))
    millions, dim = PUBLISHED[name]
    assert sum(parameter.numel() for parameter in tower.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)
    assert embedding.shape == (1, dim)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("clip_")])
def test_openais_weights_meet_quick_gelu(name):
    settings = built(name)
    assert open_clip.get_pretrained_cfg(settings.model, settings.pretrained)["quick_gelu"]
    with torch.device("meta"):
        kinds = {type(module) for module in library(settings).load(settings).modules()}
    assert open_clip.transformer.QuickGELU in kinds
    assert nn.GELU not in kinds


PHOTOGRAPHS = {
    "astronaut": data.astronaut()[:371, :],
    "chelsea": data.chelsea(),  # 300 x 451
    "coffee": data.coffee()[:, 1:],
    "rocket": data.rocket()[3:, :],
    "tall": data.astronaut()[:, 100:201],
}


@pytest.mark.parametrize("photograph", PHOTOGRAPHS)
@pytest.mark.parametrize("name", ["clip_vit_b16", "clip_vit_l14_336", "siglip_so400m_14_384"])
def test_preprocessing_is_the_librarys(name, photograph):
    image, how = PHOTOGRAPHS[photograph], backbone_settings(name).preprocess
    ours = resize_and_crop(image, how)
    transform = open_clip.image_transform(
        how.size, is_train=False, mean=how.mean, std=how.std, resize_mode=how.resize, interpolation="bicubic"
    )
    normalised = transform(Image.fromarray(image)).permute(1, 2, 0)
    np.testing.assert_allclose((ours / 255 - how.mean) / np.array(how.std), normalised, atol=1e-6)
    plain = {"resample": 3, "do_rescale": False, "do_normalize": False}
    if how.resize == "squash":
        processor = SiglipImageProcessorPil(size={"height": how.size, "width": how.size}, **plain)
    else:  # transformers cuts an odd rest half a pixel beside where OpenAI and torchvision cut it
        processor = CLIPImageProcessorPil(size={"shortest_edge": how.size}, do_center_crop=False, **plain)
    resized = torch.from_numpy(np.array(processor(Image.fromarray(image))["pixel_values"][0]))
    np.testing.assert_array_equal(ours, CenterCrop(how.size)(resized).permute(1, 2, 0))


@pytest.mark.acceptance
def test_the_largest_runs():
    backbone = TorchBackbone(built("siglip_so400m_14_384"), torch.device("cpu"))
    embedded = backbone.encode(np.stack([resize_and_crop(data.chelsea(), backbone.settings.preprocess)]))
    assert embedded.shape == (1, 1152)
    assert np.isfinite(embedded).all()
    assert embedded.std() > 0
