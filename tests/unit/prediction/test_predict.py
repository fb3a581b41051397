"""A verdict on an image: equal to the pipeline's score, one by one or together; unreadable images are named."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import aigid
from aigid.cli.main import main
from aigid.core import manifest, tables
from aigid.core.errors import InputError
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score
from aigid.detectors.samples import open_dataset
from aigid.detectors.svm.detector import KernelSvm
from aigid.images.formats import read_bytes
from aigid.prediction import inputs, inspection
from aigid.prediction.predict import predict, predict_inspected


def call(*arguments, **options):
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], **options)


def pixels(path):
    return np.asarray(Image.open(path))


WAYS = {
    "together": lambda bundle, paths: bundle.predict(paths),
    "alone": lambda bundle, paths: [bundle.predict(path) for path in paths],
    "opened": lambda bundle, paths: [bundle.predict(Image.open(path)) for path in paths],
    "arrays": lambda bundle, paths: bundle.predict([pixels(path) for path in paths]),
    "tensors": lambda bundle, paths: bundle.predict([torch.tensor(pixels(path)).permute(2, 0, 1) for path in paths]),
    "floats": lambda bundle, paths: bundle.predict([pixels(path) / 255 for path in paths]),
}


@pytest.mark.parametrize(("way", "batch"), [(way, 64) for way in WAYS] + [("together", 1), ("together", 5)])
def test_scores_are_the_pipelines_whatever_the_way_and_the_batch(pipeline, monkeypatch, way, batch):
    folder, expected = pipeline
    monkeypatch.setenv("AIGID_BATCH", str(batch))  # the cache is empty
    found = WAYS[way](aigid.load(folder / "bundle"), [folder / "images" / name for name in expected.index])
    np.testing.assert_allclose([it.score for it in found], expected, atol=1e-6)


def test_without_the_cache_scores_are_the_same_and_nothing_stays_on_disk(pipeline, monkeypatch, tmp_path):
    folder, expected = pipeline
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    batch = [inspection.inspect_content((folder / "images" / name).read_bytes(), name) for name in expected.index]
    predictor = aigid.load(folder / "bundle")
    found = list(predict_inspected([predictor], batch, check_stability=True, cached=False))
    assert not (tmp_path / "cache").exists()
    assert [row[0].score for row in found] == pytest.approx(expected.tolist(), abs=1e-6)
    cached = predict([predictor], [folder / "images" / name for name in expected.index], check_stability=True)
    assert [row[0].scores for row in found] == [row[0].scores for row in cached]


def test_bundles_on_one_backbone_share_one_pass(pipeline, monkeypatch):
    folder, expected = pipeline
    decoded = []
    monkeypatch.setattr(inputs, "read_bytes", lambda path: decoded.append(path) or read_bytes(path))
    twice = ["--model", folder / "bundle", "--model", folder / "bundle"]
    done = call(*(folder / "images" / name for name in expected.index), *twice, "--json")
    scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert scores[::2] == scores[1::2] == pytest.approx(expected.tolist(), abs=1e-6)
    assert len(decoded) == len(expected)


def test_json_is_one_object_a_line_and_nothing_else_on_stdout(pipeline):
    folder, expected = pipeline
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    done = call(folder / "images", folder / "broken.png", "--model", folder / "bundle", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert len(found) == 48 + 1
    by_name = {row["path"].rsplit("/", 1)[-1]: row for row in found}
    for name, value in expected.items():
        assert by_name[name]["score"] == pytest.approx(value, abs=1e-6)
    assert by_name["broken.png"]["status"] != "ok"
    assert "broken.png" in done.stderr


def test_a_detector_that_names_the_generator_gives_each_its_probability(pipeline, tmp_path):
    folder, expected = pipeline
    dataset = open_dataset(manifest.read(folder / "m.csv"), [folder / "e.h5"])
    settings = KernelSvm.Settings(backbone="tiny_clip", dataset="d")
    fitted = KernelSvm.fit(settings, dataset.split("train"), dataset.split("val"), 0)
    provenance = bundles.provenance_of("d", folder / "m.csv", dataset, fitted, demonstration=False)
    model = bundles.Bundle("svm", fitted, settings.model_dump(mode="json"), dataset.fingerprints, provenance)
    bundles.save(model, tmp_path / "svm")
    scored = score(model, dataset).set_index("path")
    for found in aigid.load(tmp_path / "svm").predict([folder / "images" / name for name in expected.index]):
        row = scored.loc[found.path.rsplit("/", 1)[-1]]
        assert found.details["classes"] == pytest.approx({it: row[f"class_{it}"] for it in ("real", "grain")}, abs=1e-6)
        assert found.score == pytest.approx(1 - found.details["classes"]["real"], abs=1e-6)


def test_the_scores_file_of_a_manifest_can_be_judged(pipeline, tmp_path):
    folder, _ = pipeline
    out = tmp_path / "scores.csv"
    done = call(folder / "m.csv", "--root", folder / "images", "--model", folder / "bundle", "--csv", out)
    assert done.exit_code == 0, done.stderr
    assert len(tables.read(out, ())) == 48
    judged = CliRunner().invoke(main, ["evaluate", str(out), "--json"])
    assert judged.exit_code == 0, judged.stderr
    assert json.loads(judged.stdout)["auroc"] > 0.9


def test_a_list_on_stdin(pipeline):
    folder, expected = pipeline
    done = call("-", "--model", folder / "bundle", "--json", input=f"{folder / 'images' / expected.index[0]}\n")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["score"] == pytest.approx(expected.iloc[0], abs=1e-6)


def test_a_small_image_is_never_more_than_uncertain(pipeline, tmp_path):
    folder, _ = pipeline
    Image.new("RGB", (20, 20), (90, 120, 40)).save(tmp_path / "icon.png")
    found = json.loads(call(tmp_path / "icon.png", "--model", folder / "bundle", "--json").stdout)
    assert found["verdict"] == "uncertain"
    assert found["reasons"]


def test_a_screenshot_is_uncertain_and_a_photograph_is_not(pipeline, tmp_path):
    folder, expected = pipeline
    window = np.full((80, 80, 3), 240, np.uint8)
    window[:12], window[20:60:8, 5:70] = (30, 60, 120), 20
    Image.fromarray(window).save(tmp_path / "screen.png")
    shown, photo = aigid.load(folder / "bundle").predict(
        [tmp_path / "screen.png", folder / "images" / expected.index[0]]
    )
    assert shown.uncertain
    assert "flat, as in a screenshot" in shown.details["reasons"][0]
    assert not any("flat" in reason for reason in photo.details["reasons"])


@pytest.mark.parametrize("share", [0, 0.3, 0.45, 0.55, 0.8, 1])
def test_flatness_is_seen_on_a_few_rows(share):
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    image[: round(100 * share)] = 7
    assert inspection.flat_pixel_share(image) == pytest.approx(share, abs=0.04)
    assert bool(inspection.pixel_warnings(image)) == (share > 0.5)


@pytest.mark.parametrize("name", ["model.json", "validation.csv", "weights.safetensors"])
def test_a_changed_byte_is_refused(pipeline, name):
    folder, expected = pipeline
    path = folder / "bundle" / name
    before = path.read_bytes()
    try:
        path.write_bytes(before[:-9] + bytes([before[-9] ^ 1]) + before[-8:])
        done = call(folder / "images" / expected.index[0], "--model", folder / "bundle")
        assert done.exit_code == 2
        assert name in done.stderr
    finally:
        path.write_bytes(before)


def test_a_bundle_of_another_schema_is_refused(pipeline, tmp_path):
    folder, _ = pipeline
    about = (folder / "bundle/model.json").read_text()
    (tmp_path / "old").mkdir()
    (tmp_path / "old/model.json").write_text(about.replace('"schema_version": 3', '"schema_version": 2'))
    version = r"old/model\.json: schema version 2, this code reads 3; {} it again with {}"
    with pytest.raises(InputError, match=version.format("train", "dvc repro")):
        aigid.load(tmp_path / "old")
    imported = json.loads((tmp_path / "old/model.json").read_text()) | {"detector": "renamed"}
    imported["origin"]["source"] = "a paper"
    (tmp_path / "old/model.json").write_text(json.dumps(imported))
    with pytest.raises(InputError, match=version.format("import", "aigid import")):
        aigid.load(tmp_path / "old")


def test_paths_folders_globs_and_manifests_name_each_image_once(tmp_path):
    for name in ("a/0_real/x.png", "a/1_fake/gan/y.png", "b/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "m.csv").write_text("path,label,generator,split\nb/z.png,1,gan,test\n")
    given = [tmp_path / "a", tmp_path / "a/*/x.png", tmp_path / "m.csv", "-"]
    found = inputs.collect_inputs(map(str, given), None, [f"{tmp_path / 'b/z.png'}\n".encode()])
    assert found["path"].tolist() == [str(tmp_path / it) for it in ("a/0_real/x.png", "a/1_fake/gan/y.png", "b/z.png")]
    assert found["label"].tolist() == [0, 1, 1]
    with pytest.raises(InputError, match=r"nothing/\*\.jpg: no images"):
        inputs.collect_inputs(["nothing/*.jpg"], None, [])


@pytest.mark.parametrize("image", [7, {"a": 1}])
def test_what_is_no_image_is_named_by_its_type(bundle, image):
    with pytest.raises(
        InputError,
        match=rf"^{type(image).__name__}: want a path, a file or its bytes, a PIL image, an array or a tensor",
    ):
        aigid.load(bundle).predict(image)


def test_mistakes_are_one_line(pipeline, tmp_path):
    folder, _ = pipeline
    for arguments, text in (
        ([tmp_path / "nosuch.jpg", "--model", folder / "bundle"], "nosuch.jpg"),
        ([tmp_path, "--model", folder / "bundle"], str(tmp_path)),
        ([folder / "images", "--model", tmp_path], "no bundle"),
        (
            [folder / "images", "--calibrate", "nope"],
            "'--calibrate': 'nope' is not one of 'temperature', 'platt', 'beta'",
        ),
    ):
        done = call(*arguments)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert text in done.stderr.strip().splitlines()[-1]
