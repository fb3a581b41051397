"""Encoders of each library: from a configuration, from a checkpoint and from a hub that is not there."""

import json
import re

import numpy as np
import onnx
import open_clip
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file

from aigid.core.errors import InputError
from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.settings import ExpertSettings
from aigid.features import checkpoints
from aigid.features.backbones import BackboneSettings, ConcatSettings, backbone_settings, open_backbone
from aigid.features.encoder import TorchBackbone, load_encoder
from aigid.features.preprocess import CLIP_MEAN, CLIP_STD
from aigid.features.registry import BACKBONES
from tests.helpers.images import random_images
from tests.helpers.onnx_models import export_clip, random_clip
from tests.helpers.tiny_models import CLIP, CLIP_VISION, DINOV2, SIGLIP

CPU = torch.device("cpu")


def settings(library, **changes):
    return BackboneSettings(library=library, model="tiny", preprocess={"size": 32}, **changes)


def normalized(batch):
    pixels = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


def test_an_open_clip_checkpoint_gives_the_librarys_embedding(tmp_path):
    torch.manual_seed(0)
    model = open_clip.CLIP(**CLIP).eval()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    backbone = TorchBackbone(settings("open_clip", weights=str(folder)), CPU)
    with torch.inference_mode():
        expected = model.encode_image(normalized(random_images())).numpy()
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
        expected = model(normalized(random_images()))[output].numpy()
    np.testing.assert_allclose(backbone.encode(random_images()), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("clip_vit_b16", "open_clip_model.safetensors of timm/vit_base_patch16_clip_224.openai"),
        ("siglip_b16", "config.json and model.safetensors of google/siglip-base-patch16-224"),
    ],
)
def test_no_network_is_one_line_that_names_what_is_wanted(name, files, monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints.constants, "ENDPOINT", "https://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=r"^cannot load .*: no network, and not downloaded before: ") as caught:
        TorchBackbone(backbone_settings(name), CPU)
    assert files in str(caught.value)
    assert "`--weights` or `weights:` names a local copy" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoints.constants.HF_HUB_OFFLINE is False


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


def test_tiny_encoders_and_their_joint():
    both = backbone_settings("both", {"library": "joint", "parts": ["tiny_clip", "tiny_siglip"]})
    assert both.parts == [backbone_settings("tiny_clip"), backbone_settings("tiny_siglip")]
    assert [TorchBackbone(part, CPU).dim for part in both.parts] == [192, 192]
    with pytest.raises(InputError, match=r"backbones\.both\.parts\.0: .*'tiny_clpi'"):
        backbone_settings("both", {"library": "joint", "parts": ["tiny_clpi", "tiny_siglip"]})


def test_mean_pooling_is_the_mean_of_the_tokens():
    backbone = TorchBackbone(settings("transformers", config=SIGLIP, pool="mean"), CPU)
    with torch.inference_mode():
        hidden = backbone.network.model(pixel_values=normalized(random_images())).last_hidden_state.numpy()
    np.testing.assert_allclose(backbone.encode(random_images()), hidden.mean(axis=1), atol=1e-5)


def test_before_the_projection(tmp_path):
    with_projection = TorchBackbone(settings("open_clip", config=CLIP), CPU)
    before = TorchBackbone(settings("open_clip", config=CLIP, pool="before_projection"), CPU)
    assert (with_projection.dim, before.dim) == (24, 32)
    projected = before.encode(random_images()) @ with_projection.network.proj.numpy()
    np.testing.assert_allclose(projected, with_projection.encode(random_images()), atol=1e-5)
    assert before.fingerprint != with_projection.fingerprint
    with pytest.raises(InputError, match="siglip_vision_model has no projection; want own or mean"):
        TorchBackbone(settings("transformers", config=SIGLIP, pool="before_projection"), CPU)
    tokens = TorchBackbone(settings("open_clip", config=CLIP, pool="mean"), CPU)
    assert tokens.dim == 32


PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def timm_vit(tmp_path_factory):
    """A small vision transformer of timm, with a head, and the file of its weights."""
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("test_vit", num_classes=10, img_size=64)
    save_file(network.state_dict(), path)
    return path, network.eval()


def load_timm(path, size=64, **changes):
    section = {"library": "timm", "model": "test_vit", "preprocess": {"size": size}, "weights": str(path)}
    return load_encoder(backbone_settings("vit", section | changes)).eval()


def test_a_timm_checkpoint_gives_timms_own_features(timm_vit):
    path, network = timm_vit
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(PIXELS), pre_logits=True)
        torch.testing.assert_close(load_timm(path)(PIXELS), expected)
        assert not torch.allclose(load_timm(path, pool="mean")(PIXELS), expected)
        assert load_timm(path, size=96)(torch.zeros(1, 3, 96, 96)).shape == (1, 64)  # positions are interpolated


def test_a_timm_checkpoint_that_does_not_fit_is_refused(timm_vit, tmp_path):
    state = {name: value for name, value in timm_vit[1].state_dict().items() if name != "norm.weight"}
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"less\.safetensors: do not fit this model; keys missing: norm\.weight"):
        load_timm(tmp_path / "less.safetensors")


def snapshots(folder):
    """Write snapshots of 48 px of each library; return the settings of an entry of 32 px for each."""
    large = {"image_size": 48}
    clip = CLIP | {"vision_cfg": CLIP["vision_cfg"] | large}
    (folder / "open_clip").mkdir(parents=True)
    (folder / "open_clip/open_clip_config.json").write_text(json.dumps({"model_cfg": clip, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**clip).state_dict(), folder / "open_clip/open_clip_model.safetensors")
    transformers.SiglipVisionModel(transformers.AutoConfig.for_model(**SIGLIP | large)).save_pretrained(folder / "sig")
    random_clip(CLIP_VISION | large).save_pretrained(folder / "clip")
    export_clip(random_clip(CLIP_VISION | large), folder / "fixed.onnx")
    network = onnx.load(folder / "fixed.onnx")
    for axis in (2, 3):
        network.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    onnx.save(network, folder / "free.onnx")
    vit = timm.create_model("vit_tiny_patch16_224", img_size=48, depth=1, num_classes=0)
    save_file({name: value[..., :9, :] if value.ndim == 3 and value.shape[1] == 10 else value
               for name, value in vit.state_dict().items()}, folder / "vit.safetensors")  # fmt: skip
    return {
        "open_clip": settings("open_clip", weights=str(folder / "open_clip")),
        "clip": settings("transformers", weights=str(folder / "clip")),
        "siglip": settings("transformers", weights=str(folder / "sig")),
        "siglip by file": settings("transformers", weights=str(folder / "sig/model.safetensors")),
        "clip of other shape": settings(
            "transformers", weights=str(folder / "clip/model.safetensors"), config=CLIP_VISION
        ),
        "onnx": settings("onnx", weights=str(folder / "fixed.onnx"), output="image_embeds"),
        "onnx of any size": settings("onnx", weights=str(folder / "free.onnx"), output="image_embeds"),
        "timm": settings("timm", weights=str(folder / "vit.safetensors")).model_copy(
            update={"model": "vit_tiny_patch16_224", "config": {"depth": 1}}
        ),
    }


def test_a_snapshot_of_another_image_size_is_one_line(tmp_path, capfd):
    for name, entry in snapshots(tmp_path).items():
        with pytest.raises(InputError, match="weights /") as caught:
            open_backbone(entry)
        message = str(caught.value)
        assert "\n" not in message, name
        assert re.search("take no images of 32 px|of another shape: .*pos|makes images of 32 px", message), (
            name,
            message,
        )
    with pytest.raises(InputError, match="take no images of 32 px"):
        experts.build(ExpertSettings(seed=0, backbone=settings("transformers", weights=str(tmp_path / "clip"))))
    assert "REPORT" not in "".join(capfd.readouterr())
