"""Towers from a configuration, from a checkpoint and from a hub that is not there."""

import json

import numpy as np
import open_clip
import pytest
import torch
import transformers

from aigid.core.errors import InputError
from aigid.core.files import choose_device
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, ConcatSettings, backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.preprocess import CLIP_MEAN, CLIP_STD
from aigid.features.registry import BACKBONES
from tests.helpers.images import random_images
from tests.helpers.tiny_models import CLIP, CLIP_VISION, DINOV2, SIGLIP

CPU = torch.device("cpu")


def settings(library, **changes):
    return BackboneSettings(library=library, model="tiny", preprocess={"size": 32}, **changes)


def normalised(batch):
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


@pytest.mark.parametrize(
    ("library", "config", "dim"),
    [
        ("open_clip", CLIP, 24),
        ("transformers", SIGLIP, 32),
        ("transformers", CLIP_VISION, 24),
        ("transformers", DINOV2, 32),
    ],
)
def test_a_configuration_and_a_seed_make_a_tower(library, config, dim):
    torch.manual_seed(1)
    first = TorchBackbone(settings(library, config=config, seed=5), CPU)
    torch.manual_seed(2)
    again = TorchBackbone(settings(library, config=config, seed=5), CPU)
    other = TorchBackbone(settings(library, config=config, seed=6), CPU)
    assert first.dim == dim
    assert first.fingerprint == again.fingerprint != other.fingerprint
    embedded = first.encode(random_images())
    assert embedded.shape == (3, dim)
    assert embedded.dtype == np.float32
    np.testing.assert_array_equal(embedded, again.encode(random_images()))
    np.testing.assert_allclose(embedded[1:2], first.encode(random_images()[1:2]), atol=1e-5)
    assert not np.allclose(embedded, other.encode(random_images()))


def test_an_open_clip_checkpoint_gives_the_librarys_embedding(tmp_path):
    torch.manual_seed(0)
    model = open_clip.CLIP(**CLIP).eval()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    backbone = TorchBackbone(settings("open_clip", weights=str(folder)), CPU)
    with torch.inference_mode():
        expected = model.encode_image(normalised(random_images())).numpy()
    np.testing.assert_allclose(backbone.encode(random_images()), expected, atol=1e-5)
    same = TorchBackbone(settings("open_clip", weights=str(folder)), CPU)
    assert same.fingerprint == backbone.fingerprint


@pytest.mark.parametrize(
    ("kind", "config", "output"),
    [
        ("SiglipVisionModel", SIGLIP, "pooler_output"),
        ("CLIPVisionModelWithProjection", CLIP_VISION, "image_embeds"),
        ("Dinov2Model", DINOV2, "pooler_output"),
    ],
)
def test_a_transformers_checkpoint_gives_the_librarys_embedding(tmp_path, kind, config, output):
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.AutoConfig.for_model(**config)).eval()
    model.save_pretrained(tmp_path)
    backbone = TorchBackbone(settings("transformers", weights=str(tmp_path)), CPU)
    with torch.inference_mode():
        expected = model(normalised(random_images()))[output].numpy()
    np.testing.assert_allclose(backbone.encode(random_images()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("clip_vit_b16", "open_clip_model.safetensors of timm/vit_base_patch16_clip_224.openai"),
        ("siglip_b16", "config.json and model.safetensors of google/siglip-base-patch16-224"),
    ],
)
def test_no_network_is_one_line_that_names_what_is_wanted(name, wanted, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints.constants, "ENDPOINT", "https://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=r"^cannot load .*: no network, and not downloaded before: ") as caught:
        TorchBackbone(backbone_settings(name), CPU)
    assert wanted in str(caught.value)
    assert "`--weights` or `weights:` names a local copy" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoints.constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("library", ["open_clip", "transformers"])
def test_weights_that_are_not_there(library, tmp_path):
    changes = {"weights": str(tmp_path / "nowhere")}
    if library == "open_clip":
        changes["pretrained"] = "openai"
    model = "ViT-B-32" if library == "open_clip" else "org/name"
    wanted = BackboneSettings(library=library, model=model, preprocess={"size": 32}, **changes)
    with pytest.raises(InputError, match=r"weights .*nowhere: no such file or folder") as caught:
        TorchBackbone(wanted, CPU)
    assert "\n" not in str(caught.value)


def test_names_and_changes():
    assert all(isinstance(backbone_settings(name), BackboneSettings) for name in BACKBONES)
    assert backbone_settings("clip_vit_l14", {"dtype": "float32"}).dtype == "float32"
    with pytest.raises(InputError, match=r"unknown backbone 'clip_l'; known: .*clip_vit_l14"):
        backbone_settings("clip_l")
    with pytest.raises(InputError, match=r"backbones\.clip_vit_l14\.dtype: .*'bfloat16'"):
        backbone_settings("clip_vit_l14", {"dtype": "bfloat16"})
    part = {"library": "open_clip", "model": "x", "preprocess": {"size": 32}}
    joint = backbone_settings("both", {"library": "joint", "parts": [part, part]})
    assert isinstance(joint, ConcatSettings)
    assert len(joint.parts) == 2


def test_devices():
    assert choose_device("cpu") == CPU
    with pytest.raises(InputError, match="AIGID_DEVICE='tpu9'"):
        choose_device("tpu9")


def test_tiny_towers_and_their_joint():
    both = backbone_settings("both", {"library": "joint", "parts": ["tiny_clip", "tiny_siglip"]})
    assert both.parts == [backbone_settings("tiny_clip"), backbone_settings("tiny_siglip")]
    assert [TorchBackbone(part, CPU).dim for part in both.parts] == [192, 192]
    with pytest.raises(InputError, match=r"backbones\.both\.parts\.0: .*'tiny_clpi'"):
        backbone_settings("both", {"library": "joint", "parts": ["tiny_clpi", "tiny_siglip"]})


def test_mean_pooling_is_the_mean_of_the_tokens():
    backbone = TorchBackbone(settings("transformers", config=SIGLIP, pool="mean"), CPU)
    with torch.inference_mode():
        hidden = backbone.network.model(pixel_values=normalised(random_images())).last_hidden_state.numpy()
    np.testing.assert_allclose(backbone.encode(random_images()), hidden.mean(axis=1), atol=1e-5)


def test_before_the_projection(tmp_path):
    own = TorchBackbone(settings("open_clip", config=CLIP), CPU)
    before = TorchBackbone(settings("open_clip", config=CLIP, pool="before_projection"), CPU)
    assert (own.dim, before.dim) == (24, 32)
    projected = before.encode(random_images()) @ own.network.proj.numpy()
    np.testing.assert_allclose(projected, own.encode(random_images()), atol=1e-5)
    assert before.fingerprint != own.fingerprint
    with pytest.raises(InputError, match="siglip_vision_model has no projection; want own or mean"):
        TorchBackbone(settings("transformers", config=SIGLIP, pool="before_projection"), CPU)
    tokens = TorchBackbone(settings("open_clip", config=CLIP, pool="mean"), CPU)
    assert tokens.dim == 32
