"""Published linear heads: their logits are NumPy's product with the file's weights, on their own backbone alone."""

from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import save_file

from aigid.cli.main import main
from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from aigid.importers import ImportRequest, get_importer, linear
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


def test_one_matrix_of_any_file_becomes_a_bundle_on_any_backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    table, rng = noise_folder(tmp_path, 4), np.random.default_rng(0)
    w, b = rng.normal(size=(2, 192)), rng.normal(size=2)
    extract(table, tmp_path, backbone_settings("tiny_clip")).write(tmp_path / "e.h5")
    x = open_dataset(table, [tmp_path / "e.h5"]).embeddings("clean", np.arange(4)).astype(np.float64)
    np.savez(tmp_path / "two.npz", coef_=w, intercept_=b)
    np.savez(tmp_path / "turned.npz", kernel=w.T, bias=b)
    save_file({"fc.weight": w[1:], "fc.bias": b[1:]}, tmp_path / "one.safetensors")
    torch.save({"state_dict": {"weight": torch.tensor(w[1]), "bias": torch.tensor(b[1])}}, tmp_path / "vector.pth")
    np.save(tmp_path / "plain.npy", w[1:])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    logits = {
        ("two.npz", "1", False): x @ (w[1] - w[0]) + b[1] - b[0],
        ("two.npz", "0", True): unit @ (w[0] - w[1]) + b[0] - b[1],
        ("turned.npz", "1", False): x @ (w[1] - w[0]) + b[1] - b[0],
        ("one.safetensors", "1", True): unit @ w[1] + b[1],
        ("vector.pth", "0", False): -(x @ w[1] + b[1]),
        ("plain.npy", "1", False): x @ w[1],
    }
    for number, ((name, fake, normalize), expected) in enumerate(logits.items()):
        options = ["--weights", tmp_path / name, "--backbone", "tiny_clip", "--fake-label", fake]
        options += ["--out", tmp_path / f"bundle{number}", *(["--normalize"] if normalize else [])]
        result = CliRunner().invoke(main, ["import", "linear", *map(str, options)])
        assert result.exit_code == 0, result.output
        found = Predictor(tmp_path / f"bundle{number}").predict([tmp_path / path for path in table["path"]])
        np.testing.assert_allclose([it.score for it in found], 1 / (1 + np.exp(-expected)), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ({"a": np.ones((3, 8)), "b": np.ones(1)}, {}, r"holds a \(3, 8\), b \(1,\); want a weight \(1 or 2, D\)"),
        ({"a": np.ones((1, 8)), "b": np.ones((1, 8))}, {}, "want a weight"),
        ({"a": np.ones((1, 8)), "b": np.ones(2)}, {}, "the bias is of 2 classes, not 1"),
        ({"a": np.full((1, 8), np.nan), "b": np.ones(1)}, {}, "a linear head of NaN or infinity"),
        ({"a": np.array([{}], object)}, {}, "Object arrays cannot be loaded"),
        ({"a": np.ones((1, 8))}, {"fake_labels": ("fake",)}, "--fake-label fake: want the class"),
        ({"a": np.ones((1, 8))}, {"fake_labels": ()}, "--fake-label none: want the class"),
        ({"a": np.ones((1, 8))}, {"backbone": None}, "--weights, --backbone: name the file"),
        ({"a": np.ones((1, 8))}, {"backbone": "nosuch"}, "unknown backbone 'nosuch'"),
    ],
)
def test_what_is_no_linear_head(tmp_path, content, changes, message):
    np.savez(tmp_path / "head.npz", **content)
    options = {"weights": tmp_path / "head.npz", "fake_labels": ("1",), "backbone": "tiny_clip"} | changes
    with pytest.raises(InputError, match=message):
        get_importer("linear")(ImportRequest(**options))


def test_a_head_of_another_width_and_a_folder_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "head.npz", w=np.ones((1, 8)), b=np.ones(1))
    model = get_importer("linear")(ImportRequest(None, tmp_path / "head.npz", ("1",), "tiny_clip"))
    with pytest.raises(InputError, match="probe: of embeddings of 8 columns, these have 192"):
        model.detector.p_generated(np.ones((2, 192)))
    options = ["--weights", "head.npz", "--backbone", "tiny_clip", "--fake-label", "1"]
    with chdir(tmp_path):
        for out, reason in ((".", "is the current folder"), (str(tmp_path), "is the current folder")):
            result = CliRunner().invoke(main, ["import", "linear", *options, "--out", out])
            assert result.exit_code == 2
            assert reason in result.output
        Path("full").mkdir()
        Path("full/thesis.txt").write_text("years")
        result = CliRunner().invoke(main, ["import", "linear", *options, "--out", "full"])
    assert (result.exit_code, "full: not empty, and no earlier bundle" in result.output) == (2, True)
    assert (tmp_path / "full/thesis.txt").read_text() == "years"
    result = CliRunner().invoke(
        main, ["import", "univfd", "--weights", "x", "--normalize", "--out", str(tmp_path / "o")]
    )
    assert "--normalize: univfd knows itself" in result.output
