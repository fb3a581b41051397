"""One ONNX file of a bundle: its preprocessing is Pillow's to the byte, its answers are the bundle's."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import aigid
from aigid.core import manifest
from aigid.detectors import bundle as bundles
from aigid.detectors.knn import KNearestNeighbors
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import open_dataset
from aigid.detectors.stacking import Stacking
from aigid.detectors.svm.detector import KernelSvm
from aigid.features import weights
from aigid.features.backbones import BackboneSettings
from aigid.features.extract import extract
from aigid.features.preprocess import Preprocess, resize_and_crop
from aigid.metrics.calibration import Calibrator
from aigid.prediction import DEFAULT_BUNDLE
from aigid.prediction import export as library
from aigid.prediction.export_graph import add_calibration
from aigid.prediction.graph_builder import DOUBLE, GraphBuilder, add_preprocessing
from tests.helpers.cli import aigid as command
from tests.helpers.cli import refused
from tests.helpers.images import grain_folder
from tests.helpers.onnx_models import export_clip, random_clip

WHEEL_FILE = weights.WHEEL_FILES["clip_vit_b16_int8"].path  # in the user's cache, before a test has its own
COMMON = {"backbone": "tiny", "dataset": "d"}
MEMBERS = {"probe": {"detector": "probe", "c": 0.1}, "svm": {"detector": "svm", "target": "label"}}
PCA = {"target": "label", "scaling": "standard", "num_components": 8, "gamma": "scale"}
HEADS = {
    "probe": (LinearProbe, {"c": 0.1}),
    "knn": (KNearestNeighbors, {"k": 3}),
    "svm": (KernelSvm, PCA),
    "unit_svm": (KernelSvm, {"target": "label"}),
    "stacking": (Stacking, {"members": MEMBERS, "weights_from": "val"}),
    "many": (KernelSvm, {}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images, and the bundles of ``HEADS`` on inner layers of a tiny encoder in ONNX."""
    folder, patch = tmp_path_factory.mktemp("export"), pytest.MonkeyPatch()
    patch.setenv("AIGID_CACHE", str(folder / "cache"))
    path = export_clip(random_clip(), folder / "clip.onnx")
    backbone = BackboneSettings(
        library="onnx", model="tiny", weights=str(path), preprocess={"size": 32}, layers=[0, 1], pool="cls_mean"
    )
    manifest.write(grain_folder(folder / "images", 48, "{:02}.png".format, 50), folder / "m.csv")
    table = manifest.read(folder / "m.csv")
    extract(table, folder / "images", backbone).write(folder / "e.h5")
    data = open_dataset(table, [folder / "e.h5"])
    for name, (kind, section) in HEADS.items():
        settings = kind.Settings(**COMMON, **section)
        fitted = kind.fit(settings, data.split("train"), data.split("val"), 0)
        if kind is KernelSvm:
            fitted.arrays["slopes"] = np.full_like(fitted.arrays["slopes"], 4)  # so few images may support none
        origin = bundles.provenance_of("d", folder / "m.csv", data, fitted, demonstration=False)
        validation = bundles.validate(fitted, data)
        saved = bundles.Bundle(name.rpartition("_")[2], fitted, {}, data.fingerprints, origin, validation)
        if name == "many":
            saved = replace(saved, name="svm")
        bundles.save(saved, folder / name)
    yield folder
    patch.undo()


@pytest.fixture(scope="module")
def exported(made):
    """The exported stack."""
    library.export(aigid.load(made / "stacking"), made / "stacking.onnx")
    return made / "stacking.onnx"


def run(add, shape, dtype, value):
    """What a graph of what ``add`` adds gives for one input."""
    g = GraphBuilder()
    output = onnx.helper.make_tensor_value_info(add(g), DOUBLE, None)
    image = onnx.helper.make_tensor_value_info("x", onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
    graph = onnx.helper.make_graph(g.nodes, "g", [image], [output], g.initializers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": value.astype(dtype)})[0]


@pytest.mark.parametrize("size", [(97, 301), (400, 90), (15, 20)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"interpolation": "bilinear"}, {"resize": "squash"}, {"resize": "none"}, {"crop_fraction": 0.875}],
    ids=str,
)
def test_preprocessing_is_pillows_to_the_byte(size, changes):
    preprocess = Preprocess(size=32, **changes)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    found = run(lambda g: add_preprocessing(g, "x", preprocess), [1, None, None, 3], np.uint8, image[None])
    np.testing.assert_array_equal(found.transpose(1, 2, 0), resize_and_crop(image, preprocess))


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("temperature", {"weights": [0.7]}),
        ("platt", {"weights": [1.3, -0.4]}),
        ("beta", {"weights": [1.3, 0.2, -0.4]}),
        ("isotonic", {"scores": [0.1, 0.4, 0.8], "shares": [0.05, 0.5, 0.9]}),
        ("isotonic", {"scores": [0.4], "shares": [0.5]}),
    ],
)
def test_calibration_is_the_calibrators(kind, parameters):
    calibrator = Calibrator(kind, parameters, {})
    for score in (0.0, 0.05, 0.1, 0.3, 0.4, 0.79, 1.0):
        found = run(lambda g: add_calibration(g, calibrator, "x"), [1, 1], np.float64, np.array([[score]]))
        assert found == pytest.approx(calibrator([score]).reshape(1, 1), abs=1e-12)


@pytest.mark.parametrize("name", ["probe", "knn", "svm", "unit_svm", "stacking"])
def test_verdicts_of_the_file_are_the_bundles(made, name, tmp_path):
    out, images, rule = tmp_path / "model.onnx", str(made / "images/[01]*.png"), ["--alpha", "0.3"]
    done = command("export", str(made / name), "--onnx", str(out), "--images", images, *rule, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    stable, rows = ["--stable"] if name == "probe" else [], []
    for model in (made / name, out):
        told = command("predict", images, "--model", str(model), *rule, *stable, "--json", cwd=tmp_path)
        rows.append([json.loads(line) for line in told.stdout.splitlines()])
    assert len({row["score"] for row in rows[0]}) == len(rows[1]) == 20
    assert name != "stacking" or len({row["verdict"] for row in rows[0]}) > 1
    for before, after in zip(*rows, strict=True):
        stability = [row.pop("stability", {"scores": {}, "flips": []}) for row in (before, after)]
        assert stability[0]["flips"] == stability[1]["flips"]
        assert stability[1]["scores"] == pytest.approx(stability[0]["scores"], abs=1e-5)
        for key in ("score", "probability"):
            assert after.pop(key) == pytest.approx(before.pop(key), abs=1e-5)
        assert after == before


@pytest.mark.parametrize(("option", "precision", "most"), [("--fp16", "float16", 2e-3), ("--int8", "int8", 0.05)])
@pytest.mark.parametrize("name", ["probe", "knn", "stacking"])
def test_a_lower_precision_states_its_differences(made, name, option, precision, most, tmp_path):
    rows = manifest.read(made / "m.csv").assign(path=lambda table: "images/" + table["path"])
    manifest.write(rows, made / "labelled.csv")
    predictor = aigid.load(made / name)
    call = ("export", str(made / name), "--onnx", "low.onnx", "--images", str(made / "labelled.csv"), option)
    done = command(*call, cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    props = onnxruntime.InferenceSession(str(tmp_path / "low.onnx")).get_modelmeta().custom_metadata_map
    said = {key.removeprefix("aigid."): json.loads(value) for key, value in props.items()}
    assert (said["precision"], said["num_images"]) == (precision, len(rows))
    assert 0 < said["parity"] < most
    paths = [made / path for path in rows["path"]]
    scores = [[one.score for one in model.predict(paths)] for model in (predictor, aigid.load(tmp_path / "low.onnx"))]
    assert said["auroc"] == pytest.approx([roc_auc_score(rows["label"], side) for side in scores])
    assert np.abs(np.subtract(*scores)).max() <= said["parity"] + 1e-9
    library.export(predictor, tmp_path / "full.onnx")
    assert (tmp_path / "low.onnx").stat().st_size < (tmp_path / "full.onnx").stat().st_size


def test_the_file_says_what_it_is_and_runs_without_us(made, exported):
    session = onnxruntime.InferenceSession(str(exported))
    props = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    predictor = aigid.load(made / "stacking")
    assert props["aigid.identity"] == predictor.model.identity
    assert props["aigid.bundle_sha256"] == json.loads((made / "stacking/model.json").read_text())["sha256"]
    assert props["aigid.threshold"] == predictor.rule.operating_point.threshold
    assert props["aigid.uncertain_between"] == predictor.operating_point["uncertain_between"]
    assert (props["aigid.input"], props["aigid.opset"], props["aigid.num_images"]) == ("image", 17, 12)
    assert 0 <= props["aigid.parity"] <= 1e-4
    prediction = predictor.predict(made / "images/00.png")
    score, probability = session.run(None, {"image": np.asarray(Image.open(made / "images/00.png"))[None]})
    assert (score[0], probability[0]) == pytest.approx((prediction.score, prediction.probability), abs=1e-5)
    onnx.checker.check_model(onnx.load(str(exported)))


def test_it_is_loaded_like_a_bundle(exported, made):
    prediction = aigid.load(exported).predict(made / "images/01.png", explain=True)
    assert prediction.occlusion_map.shape == (8, 8)
    narrow = aigid.load(exported).predict(np.zeros((3_000_000, 1, 3), np.uint8))
    assert narrow.status == aigid.load(made / "stacking").predict(np.zeros((3_000_000, 1, 3), np.uint8)).status != "ok"


def test_no_torch_is_imported(exported, made):
    code = (
        "import sys, aigid; aigid.load(sys.argv[1]).predict(sys.argv[2]); print({'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exported, made / "images/01.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_graph_that_answers_otherwise_is_not_written(made, tmp_path, monkeypatch):
    """Its preprocessing a pixel off, the graph starts behind it; its head off, too, there is none."""
    predictor, add_head = aigid.load(made / "probe"), library.export_graph.add_head
    monkeypatch.setattr(
        library, "add_preprocessing", lambda g, *args: g("Mul", add_preprocessing(g, *args), np.float64(0.9))
    )
    assert library.export(predictor, tmp_path / "square.onnx")[0].input == "square"
    image = made / "images/01.png"
    after = aigid.load(tmp_path / "square.onnx").predict(image)
    assert after.probability == pytest.approx(predictor.predict(image).probability, abs=1e-5)
    monkeypatch.setattr(
        library.export_graph, "add_head", lambda g, *args: g("Mul", add_head(g, *args), np.float64(0.999))
    )
    with pytest.raises(aigid.core.errors.InputError, match=r"differs by .*, more than 0\.0001"):
        library.export(predictor, tmp_path / "none.onnx")
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == {"square.onnx"}


def test_what_is_not_exported_is_named(made, pipeline, tmp_path):
    for model, text in (
        (made / "many", "svm of target generator"),
        (pipeline[0] / "bundle", "backbone open_clip tiny: is not exported"),
    ):
        refused(command("export", str(model), "--onnx", "out.onnx", cwd=tmp_path), text)
    refused(command("export", str(made / "probe"), "--onnx", "out.pb", cwd=tmp_path), "--onnx out.pb")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_as_it_was_written_is_refused(made, exported, tmp_path):
    image, content = str(made / "images/00.png"), exported.read_bytes()
    middle = len(content) // 2
    files = {
        "foreign": (made / "clip.onnx").read_bytes(),
        "text": b"no model",
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "threshold": content.replace(b"aigid.threshold", b"aigid.treshholt"),
    }
    for name, changed in files.items():
        (tmp_path / f"{name}.onnx").write_bytes(changed)
        done = command("predict", image, "--model", f"{name}.onnx", "--json", cwd=tmp_path)
        refused(done, f"{name}.onnx: no")
        assert done.stderr.count("\n") == 1
    refused(command("predict", image, "--model", "nowhere.onnx", cwd=tmp_path), "nowhere.onnx")
    refused(command("predict", image, "--model", str(exported), "--fpr", "0.2", cwd=tmp_path), "--fpr")
    refused(command("predict", image, "--model", str(exported), "--weights", "w", cwd=tmp_path), "--weights w")


@pytest.mark.slow
@pytest.mark.skipif(not WHEEL_FILE.is_file(), reason="the encoder is not in the cache")
def test_the_packages_own_bundle(tmp_path):
    predictor = aigid.load(DEFAULT_BUNDLE, weights=str(WHEEL_FILE))
    written, _ = library.export(predictor, tmp_path / "photos.onnx")
    assert (written.input, written.other_verdicts) == ("image", 0)
    assert written.parity <= 1e-4
