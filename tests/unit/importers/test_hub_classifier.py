"""A classifier of transformers as a detector: its softmax by hand, its bundle, its labels."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.features import checkpoints
from aigid.importers.base import ImportRequest, get_importer
from aigid.prediction.predict import Predictor

LABELS = {0: "photo", 1: "sd", 2: "gan"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model of three classes as the hub keeps it, and two images."""
    place = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        id2label=LABELS, label2id={name: number for number, name in LABELS.items()}, initializer_range=1.0,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(place)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(place)
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return place


def test_the_fake_labels_share_of_the_softmax(folder, tmp_path):
    bundle.save(get_importer("hf")(ImportRequest(model=str(folder), fake_labels=("sd", "gan"))), tmp_path / "bundle")
    net, processor = ViTForImageClassification.from_pretrained(folder), ViTImageProcessor.from_pretrained(folder)
    images = [Image.open(folder / f"{number}.png") for number in range(2)]
    with torch.inference_mode():
        logits = net(**processor(images=images, return_tensors="pt")).logits.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = Predictor(tmp_path / "bundle").predict([folder / "0.png", folder / "1.png"])
    np.testing.assert_allclose([it.score for it in found], shares[:, 1:].sum(axis=1), atol=1e-6)
    assert found[0].details["calibrated"] is False


def test_what_it_refuses(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"--fake-label .fake.: .* has the labels photo, sd, gan"):
        get_importer("hf")(ImportRequest(model=str(folder), fake_labels=("fake",)))
    with pytest.raises(InputError, match="--fake-label: name the class"):
        get_importer("hf")(ImportRequest(model=str(folder)))
    with pytest.raises(InputError, match="name the model"):
        get_importer("hf")(ImportRequest(fake_labels=("sd",)))
    monkeypatch.setattr(checkpoints, "_hub_is_reachable", lambda: False)
    with pytest.raises(InputError, match=r"someone/detector: no network, .* model\.safetensors of someone/d"):
        get_importer("hf")(ImportRequest(model="someone/detector", fake_labels=("sd",)))
    with pytest.raises(InputError, match=r"config\.json and model\.safetensors"):
        get_importer("hf")(ImportRequest(model=str(tmp_path), fake_labels=("sd",)))
