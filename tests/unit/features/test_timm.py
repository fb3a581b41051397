"""Towers through timm: from a configuration, from a file, and what does not fit."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from aigid.core.errors import InputError
from aigid.features.backbones import backbone_settings
from aigid.features.encoder import load_encoder

MODEL = {"library": "timm", "model": "test_vit", "preprocess": {"size": 64}}
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("timm") / "model.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model("test_vit", num_classes=10, img_size=64)
    save_file(net.state_dict(), path)
    return path, net.eval()


def test_weights_from_a_file_give_timms_own_features(file):
    path, net = file
    with torch.inference_mode():
        expected = net.forward_head(net.forward_features(PIXELS), pre_logits=True)
        torch.testing.assert_close(
            load_encoder(backbone_settings("mine", MODEL | {"weights": str(path)})).eval()(PIXELS), expected
        )
        mean = load_encoder(backbone_settings("mine", MODEL | {"weights": str(path), "pool": "mean"})).eval()(PIXELS)
    assert not torch.allclose(mean, expected)


def test_another_image_size_interpolates_the_positions(file):
    larger = backbone_settings("mine", MODEL | {"weights": str(file[0]), "preprocess": {"size": 96}})
    with torch.inference_mode():
        assert load_encoder(larger).eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 64)


def test_what_it_refuses(file, tmp_path):
    state = {name: value for name, value in file[1].state_dict().items() if name != "norm.weight"}
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"less\.safetensors: do not fit this model; keys missing: norm\.weight"):
        load_encoder(backbone_settings("mine", MODEL | {"weights": str(tmp_path / "less.safetensors")}))
    with pytest.raises(InputError, match="have no projection"):
        load_encoder(backbone_settings("tiny_vit", {"pool": "before_projection"}))
