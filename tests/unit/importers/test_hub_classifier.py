"""A classifier of transformers as a detector: its softmax and sigmoid by hand, its files, its bundle."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from aigid.core.errors import InputError
from aigid.detectors import bundle
from aigid.features import checkpoints
from aigid.importers import ImportRequest, get_importer
from aigid.prediction.predict import Predictor

LABELS = {0: "photo", 1: "sd", 2: "gan"}


def save_model(place, labels, biases=None, **changes):
    """Write a tiny model as the hub keeps it; with ``biases`` (K,) these are its logits for any image."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        id2label=labels, label2id={name: number for number, name in labels.items()}, initializer_range=1.0, **changes,
    )  # fmt: skip
    net = ViTForImageClassification(config)
    if biases is not None:
        net.classifier.weight.data.zero_()
        net.classifier.bias.data = torch.tensor(biases)
    net.save_pretrained(place)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(place)
    return place


def imported(place, *fake_labels):
    return get_importer("hf")(ImportRequest(model=str(place), fake_labels=fake_labels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model of three classes, and two images."""
    place = save_model(tmp_path_factory.mktemp("hub"), LABELS)
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return place


@pytest.mark.parametrize(
    ("labels", "biases", "problem", "fake", "expected"),
    [
        (["fake"], [-3.0], None, ["fake"], 0.0474),
        (["real", "fake"], [3.0, 2.0], "multi_label_classification", ["fake"], 0.8808),
        (["real", "sd", "gan"], [3.0, 2.0, 1.0], "multi_label_classification", ["gan", "sd"], 0.8808),
        (["real", "fake"], [3.0, 2.0], "single_label_classification", ["fake"], 0.2689),
    ],
)
def test_outputs_are_read_as_the_models_own_files_say(tmp_path, folder, labels, biases, problem, fake, expected):
    place = save_model(tmp_path / "hub", dict(enumerate(labels)), biases, problem_type=problem)
    bundle.save(imported(place, *fake), tmp_path / "bundle")
    for found in Predictor(tmp_path / "bundle").predict([folder / "0.png", folder / "1.png"]):
        assert found.score == pytest.approx(expected, abs=1e-4)


def changed(folder, place, file, **changes):
    shutil.copytree(folder, place)
    (place / file).write_text(json.dumps(json.loads((place / file).read_text()) | changes))
    return place


def test_what_its_files_say_wrong_is_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"problem_type 'regression': its outputs are no classes"):
        imported(changed(folder, tmp_path / "regression", "config.json", problem_type="regression"), "sd")
    for file in ("config.json", "preprocessor_config.json"):
        place = changed(folder, tmp_path / file, file, auto_map={"AutoModel": "modeling_x.Model"})
        with pytest.raises(InputError, match=rf"{file}: auto_map names code of the repository \(modeling_x.Model\)"):
            imported(place, "sd")
    two = changed(folder, tmp_path / "two", "config.json", id2label={"0": "real", "1": "fake"})
    with pytest.raises(InputError, match=r"do not fit this model; keys of another shape: classifier"):
        imported(two, "fake")
    with pytest.raises(InputError, match=r"classifier.bias holds NaN or infinity"):
        imported(save_model(tmp_path / "nan", LABELS, [0.0, float("nan"), 0.0]), "sd")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("preprocessor_config.json", "holds no preprocessor_config.json, which says how images are prepared"),
        ("model.safetensors", r"holds no model.safetensors; pytorch_model.bin is a pickle, which is never read"),
        ("config.json", "holds no config.json, which says what the model is"),
    ],
)
def test_a_file_that_is_missing_is_named_whatever_the_network(folder, tmp_path, monkeypatch, gone, message):
    monkeypatch.setattr(checkpoints, "_hub_is_reachable", lambda: False)
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / gone).rename(tmp_path / "copy/pytorch_model.bin")
    with pytest.raises(InputError, match=message) as caught:
        imported(tmp_path / "copy", "sd")
    assert "network" not in str(caught.value)


def test_nothing_but_our_own_words_goes_to_a_pipe(folder, capfd):
    imported(folder, "sd")
    assert capfd.readouterr().err == ""


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


def test_what_it_refuses(folder, monkeypatch):
    with pytest.raises(InputError, match=r"--fake-label .fake.: .* has the labels photo, sd, gan"):
        get_importer("hf")(ImportRequest(model=str(folder), fake_labels=("fake",)))
    with pytest.raises(InputError, match="--fake-label: name the class"):
        get_importer("hf")(ImportRequest(model=str(folder)))
    with pytest.raises(InputError, match="name the model"):
        get_importer("hf")(ImportRequest(fake_labels=("sd",)))
    monkeypatch.setattr(checkpoints, "_hub_is_reachable", lambda: False)
    with pytest.raises(InputError, match=r"someone/detector: no network, .* model\.safetensors of someone/d"):
        get_importer("hf")(ImportRequest(model="someone/detector", fake_labels=("sd",)))


def test_an_extreme_aspect_is_refused_before_its_own_processor_resizes(tmp_path):
    """Which would make 65,000 x 1 px a picture of 16 million pixels, at 224 px one of 3 billion."""
    place = save_model(tmp_path / "hub", LABELS)
    bundle.save(imported(place, "sd"), tmp_path / "bundle")
    for name, size in (("long", (200_000, 1)), ("square", (40, 40))):
        Image.new("RGB", size, (9, 99, 9)).save(tmp_path / f"{name}.png")
    long, square = Predictor(tmp_path / "bundle").predict([tmp_path / "long.png", tmp_path / "square.png"])
    assert (long.status, square.status) == ("too_many_pixels", "ok")
    assert "200000 x 1 at 16 px of the shorter side is 3200000 x 16, limit" in long.error
