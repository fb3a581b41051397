"""Published linear heads: their logits are NumPy's product with the file's weights, on their own backbone alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.importers import linear
from aigid.importers.base import ImportRequest, get_importer
from aigid.prediction.predict import Predictor
from tests.helpers.images import noise_folder

SHARED = Path(__file__).resolve().parents[4] / "shared/weights"
PREFIX = "model.classification_head.fc."
KINDS = {"univfd": ("", 768), "clip-cues": (PREFIX, 1024)}


def made(name, folder):
    """A file of the published form, of random weights."""
    prefix, width = KINDS[name]
    draw = torch.Generator().manual_seed(0)
    tensors = {f"{prefix}weight": torch.randn(1, width, generator=draw), f"{prefix}bias": torch.ones(1)}
    torch.save({"state_dict": tensors} if prefix else tensors, folder / "head.pth")
    return folder / "head.pth"


def published():
    files = [("univfd", "univfd_fc_weights.pth")]
    files += [("clip-cues", path.name) for path in sorted(SHARED.glob("*linear_probe*.ckpt"))]
    return files if SHARED.is_dir() else [("univfd", None)]


def check(name, path):
    prefix, width = KINDS[name]
    model = get_importer(name)(ImportRequest(weights=path))
    x = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    state = torch.load(path, map_location="cpu", weights_only=False)
    state = state.get("state_dict", state)
    logits = x.astype(np.float64) @ state[f"{prefix}weight"].numpy()[0].astype(np.float64)
    logits += float(state[f"{prefix}bias"][0])
    p = model.detector.p_generated(x)
    np.testing.assert_allclose(np.log(p / (1 - p)), logits, atol=1e-5)
    assert np.ptp(logits) > 0.01


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_a_plain_product(name, tmp_path):
    check(name, made(name, tmp_path))


@pytest.mark.parametrize(("name", "file"), published())
def test_so_are_those_of_the_published_files(name, file):
    if file is None:
        pytest.skip("no ../shared/weights beside the clone")
    check(name, SHARED / file)


def test_what_they_refuse(tmp_path):
    path = made("univfd", tmp_path)
    with pytest.raises(InputError, match=r"--backbone clip_vit_b16: model ViT-B-16.* this head belongs to ViT-L-14"):
        get_importer("univfd")(ImportRequest(weights=path, backbone="clip_vit_b16"))
    with pytest.raises(InputError, match=r"model\.classification_head\.fc\.weight"):
        get_importer("clip-cues")(ImportRequest(weights=path))
    with pytest.raises(InputError, match="--weights: name pretrained_weights"):
        get_importer("univfd")(ImportRequest())


def test_a_head_scores_cached_embeddings_of_its_backbone_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    table = noise_folder(tmp_path, 6)
    torch.save({"weight": torch.randn(1, 192), "bias": torch.zeros(1)}, tmp_path / "head.pth")
    head = linear.LinearHead("a paper", ["MIT"], "a head", "", 192, "tiny_clip")
    probe = head.load(tmp_path / "head.pth")
    bundles.save(head.import_detector(ImportRequest(weights=tmp_path / "head.pth")), tmp_path / "bundle")
    model = bundles.load(tmp_path / "bundle")
    for name in ("tiny_clip", "tiny_siglip"):
        extract(table, tmp_path, backbone_settings(name)).write(tmp_path / f"{name}.h5")
    dataset = open_dataset(table, [tmp_path / "tiny_clip.h5"])
    x = dataset.embeddings("clean", np.arange(6)).astype(np.float64)
    expected = 1 / (1 + np.exp(-(x @ probe.weight)))
    np.testing.assert_allclose(score(model, dataset)["score"], expected, atol=1e-9)
    bundle = Predictor(tmp_path / "bundle")
    found = bundle.predict([tmp_path / name for name in table["path"]])
    np.testing.assert_allclose([it.score for it in found], expected, atol=1e-6)
    assert found[0].probability is None
    assert found[0].details["calibrated"] is False
    assert any("calibrated: false" in line for line in bundle.limitations)
    with pytest.raises(InputError, match=r"made by another backbone, weights or preprocessing.*\(a paper, on tiny\)"):
        score(model, open_dataset(table, [tmp_path / "tiny_siglip.h5"]))


def test_a_backbone_without_weights_says_where_they_come_from(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    bundles.save(get_importer("univfd")(ImportRequest(weights=made("univfd", tmp_path))), tmp_path / "bundle")
    Image.new("RGB", (64, 64), (10, 90, 60)).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"bundle: .*ViT-L-14-quickgelu"):
        Predictor(tmp_path / "bundle").predict(tmp_path / "photo.png")
    with pytest.raises(InputError, match=r"gone\.pt: no such file .*takes ViT-L-14-quickgelu openai; --weights names"):
        Predictor(tmp_path / "bundle", weights="gone.pt").predict(tmp_path / "photo.png")
