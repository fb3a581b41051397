"""What stands beside a verdict: stability, a map, what the image says of itself; and a folder full of hostile files."""

import json
import os
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import fsspec
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import aigid
from aigid.cli.main import main
from aigid.images import decode, formats
from aigid.metrics.calibration import KINDS, Calibrator
from aigid.metrics.decisions import (
    ConformalAbstainer,
    DecisionRule,
    EvaluationSettings,
    OperatingPoint,
    fit_decision_rule,
)
from aigid.prediction import inspection, predict, verdict
from aigid.report import figures
from tests.helpers import hostile

HARM = {
    "empty.jpg": b"",
    "text.png": b"no image at all",
    "cut.png": hostile.encode(hostile.picture(), "PNG")[:100],
    "bomb.png": hostile.png_of((60_000, 60_000), 8, 2, b"\0" * 100),
    "page.jpg": b"<!doctype html><title>404</title>",
}


def rule_at(threshold):
    return SimpleNamespace(operating_point=SimpleNamespace(threshold=threshold))


def test_a_verdict_that_flips_under_delivery_is_a_caution():
    found = verdict.score_stability({"clean": 0.8, "jpeg50": 0.6, "crop90": 0.9}, rule_at(0.7))
    assert found["flips"] == ["jpeg50"]
    assert found["spread"] == pytest.approx(0.3)
    assert found["mean"] == pytest.approx(2.3 / 3)
    assert verdict.stability_warnings(found) == ("the verdict flips under jpeg50",)
    assert verdict.stability_warnings(verdict.score_stability({"clean": 0.8, "jpeg50": 0.6}, rule_at(0.5))) == ()
    assert verdict.score_stability({"clean": 0.6, "jpeg50": 0.4}, None)["flips"] == ["jpeg50"]


def random_rule(rng, kind):
    """A rule of any threshold and any band, wide or inverted, whose calibrator may put 1/2 anywhere."""
    slopes = {"temperature": 1, "platt": 1, "beta": 2}.get(kind)
    if slopes:
        offset = [] if kind == "temperature" else [rng.normal(0, 4)]
        parameters = {"weights": [*rng.exponential(2, slopes), *offset]}
    else:
        parameters = {"scores": np.sort(rng.random(6)).tolist(), "shares": np.sort(rng.random(6)).tolist()}
    point = OperatingPoint(rng.random(), 0.1, 0.2, 0.9, 30)
    return DecisionRule(Calibrator(kind, parameters, {}), point, ConformalAbstainer(*rng.random(2), 0.1))


@pytest.mark.parametrize("kind", KINDS)
def test_verdict_and_probability_never_contradict_each_other(kind):
    rng, seen = np.random.default_rng(0), set()
    for _ in range(300):
        rule = random_rule(rng, kind)
        edges = [rule.operating_point.threshold, rule.abstainer.highest_real, rule.abstainer.lowest_fake]
        for score in [*rng.random(5), *edges, 0.0, 0.5, 1.0]:
            warnings = ("too small",) if rng.random() < 0.2 else ()
            found = verdict.decide(float(score), rule, warnings)
            seen.add(found.verdict)
            assert found.verdict in ("uncertain", "generated" if found.probability > 0.5 else "real")
            assert found.verdict in ("uncertain", "generated" if score > found.threshold else "real")
            assert (found.verdict == "uncertain") == bool(found.reasons)
            assert not warnings or found.verdict == "uncertain"
    assert seen == {"real", "generated", "uncertain"}
    for score in (
        0.0,
        0.5,
        np.nextafter(0.5, 1),
        1.0,
    ):  # without a rule no probability is shown, and 1/2 cuts the score
        found = verdict.decide(float(score), None)
        assert (found.probability, found.verdict) == (None, "generated" if score > 0.5 else "real")


@pytest.mark.parametrize("calibrator", KINDS)
@pytest.mark.parametrize("shift", [-2, 0, 2])  # of the scores: 1/2 lies far from where the classes meet
def test_a_fitted_rule_still_gives_both_verdicts(calibrator, shift):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 100)
    scores = 1 / (1 + np.exp(-rng.normal(2 * label - 1 + shift, 1)))
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(200)], "label": label, "score": scores})
    rows = rows.assign(generator=np.where(label, "gan", "real"), split="val", view="clean")
    rule = fit_decision_rule(rows, EvaluationSettings(calibrator=calibrator, fpr=0.2, alpha=0.3))
    found = {verdict.decide(score, rule).verdict for score in np.linspace(0, 1, 401)}
    assert found >= {"real", "generated"}


def test_limitations_are_plain_english():
    training = {"images": {"train": {"real": 9, "vae": 9, "gan": 9}}}
    model = SimpleNamespace(origin=SimpleNamespace(demonstration=True, training=training))
    assert verdict.limitations(model, None) == [
        "a demonstration of the pipeline: its verdicts on real images mean nothing",
        "calibrated: false: no validation images; verdicts cut the plain score at 0.5",
        "trained on images of gan, vae alone: how it does on other generators is not known",
    ]
    training["images"]["train"] |= {f"generator {number}": 1 for number in range(9)}
    assert verdict.limitations(model, None)[-1] == (
        "trained on images of 11 generators alone, which its model.json names"
    )


def test_the_map_shows_what_the_score_comes_from(tmp_path):
    image = np.full((64, 64, 3), 90, np.uint8)
    image[8:16, 24:32] = (250, 60, 60)
    drops = predict.occlusion(lambda images: np.array([image[..., 0].max() / 255 for image in images]), image)
    assert drops.shape == (8, 8)
    assert np.argwhere(drops > 0.1).tolist() == [[1, 3]]
    figures.save_occlusion_map(image, drops, "reddest", tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as drawn_map:
        assert drawn_map.size == (1350, 600)


def saved(path, text=(), **options):
    info = PngInfo()
    for key, value in text:
        info.add_text(key, value)
    Image.fromarray(hostile.picture()).save(path, **({"pnginfo": info} if text else {}), **options)
    return inspection.inspect(path).metadata


def test_what_an_image_says_of_itself(tmp_path):
    assert saved(tmp_path / "plain.png") == {}
    text = "a cat\nSteps: 20, Sampler: Euler a, Seed: 1"
    found = saved(tmp_path / "webui.png", [("parameters", text)])
    assert found["generator_parameters"] == {"parameters": text}
    assert found["summary"] == "parameters of Stable Diffusion web UI"
    assert saved(tmp_path / "note.png", [("Comment", "taken in Paris")]) == {}
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0131] = "Canon", "EOS 5D", "Adobe Firefly 2"
    found = saved(tmp_path / "camera.jpg", exif=exif)
    assert found["camera"] == "Canon EOS 5D"
    assert found["software"] == "Adobe Firefly 2"
    xmp = b"<x>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia</x>"
    found = saved(tmp_path / "iptc.jpg", xmp=xmp)
    assert found["digital_source_type"] == ["trainedAlgorithmicMedia"]
    assert "made by an algorithm" in found["summary"]
    (tmp_path / "c2pa.jpg").write_bytes((tmp_path / "iptc.jpg").read_bytes() + b"jumbc2pa")
    assert inspection.inspect(tmp_path / "c2pa.jpg").metadata["c2pa"]["state"] in ("present", "absent")
    assert inspection.inspect(tmp_path / "nosuch.jpg").status == "missing"


def test_the_library_alone_gives_metadata_stability_and_a_map(bundle, tmp_path, monkeypatch):
    """What `aigid predict` prints needs no command line, and a map leaves nothing in the cache or the environment."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    saved(tmp_path / "webui.png", [("parameters", "a cat\nSteps: 20, Sampler: Euler a, Seed: 1")])
    predictor = aigid.load(bundle)
    prediction = predictor.predict(tmp_path / "webui.png", views=["blur3"], explain=True, check_stability=True)
    assert prediction.to_json()["embedded_metadata"]["summary"] == "parameters of Stable Diffusion web UI"
    assert set(prediction.details["stability"]["scores"]) == {"clean", *verdict.DELIVERY_VIEWS}
    assert set(prediction.scores) == {"clean", "blur3", *verdict.DELIVERY_VIEWS}
    assert prediction.occlusion_map.shape == (8, 8)
    assert np.abs(prediction.occlusion_map).max() > 0
    assert "map" not in prediction.to_json()
    assert len(list((tmp_path / "cache").glob("embeddings/*/*.safetensors"))) == len(prediction.scores)
    (broken,) = predictor.predict([tmp_path / "nosuch.png"], explain=True)
    assert (broken.status, broken.occlusion_map) == ("missing", None)


def test_a_small_image_carries_its_warning(bundle):
    prediction = aigid.load(bundle).predict(np.zeros((20, 20, 3), np.uint8))
    assert prediction.warnings == tuple(prediction.details["reasons"][:1]) != ()
    assert prediction.uncertain


def test_each_image_is_read_and_decoded_once(bundle, tmp_path, monkeypatch):
    """By two bundles, in six views, with metadata and map."""
    opened, decoded = [], []
    read, load = formats.open_file, decode.open_lazily
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(formats, "open_file", lambda path: opened.append(str(path)) or read(path))
    monkeypatch.setattr(decode, "open_lazily", lambda *file: decoded.append(file[1]) or load(*file))
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(hostile.picture() + np.uint8(number)).save(path)
    run = ["predict", *paths, "--model", str(bundle), "--model", str(bundle), "--stable", "--json"]
    done = CliRunner().invoke(main, [*run, "--explain", str(tmp_path / "maps")])
    assert done.exit_code == 0, done.stderr
    assert sorted(opened) == paths
    assert decoded == ["PNG"] * 3


def folder_of(folder, num):
    """A twentieth of ``num`` files mean harm; together the others have more pixels than may be in memory at once."""
    folder.mkdir()
    slope = np.add.outer(np.arange(300), np.arange(300)) // 3
    for number in range(num * 19 // 20):
        image = np.stack([slope, slope[::-1], np.full_like(slope, number % 251)], axis=2).astype(np.uint8)
        image[:2, :2] = [(number // 251, 9, 9)]
        Image.fromarray(image).save(folder / f"{number:04}.png", compress_level=1)
    for number in range(num // 20):
        name, content = list(HARM.items())[number % len(HARM)]
        (folder / f"{number}_{name}").write_bytes(content)
    return folder


def watched(folder, bundle, cache):
    """`aigid predict FOLDER --json` in a process of its own, and its peak in MB."""
    code = (
        "import atexit, resource as r, sys; from aigid.cli.main import main\n"
        "atexit.register(lambda: print(r.getrusage(r.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)); main()"
    )
    run = [sys.executable, "-c", code, "predict", str(folder), "--model", str(bundle), "--json"]
    env = os.environ | {"AIGID_CACHE": str(cache)}
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=False)
    return done, int(done.stderr.splitlines()[-1])


@pytest.mark.slow
def test_a_thousand_images_of_which_fifty_mean_harm(bundle, tmp_path):
    """950 verdicts, 50 named errors, exit status 1, and hardly more memory than a hundred images take."""
    _, least = watched(folder_of(tmp_path / "few", 100), bundle, tmp_path / "one")
    done, most = watched(folder_of(tmp_path / "many", 1000), bundle, tmp_path / "other")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1, done.stderr
    assert most < least + 100
    assert sum(row["status"] == "ok" and row["verdict"] in ("real", "generated", "uncertain") for row in found) == 950
    bad = [row for row in found if row["status"] != "ok"]
    assert len(bad) == 50
    assert all(row["error"] for row in bad)
    assert "50 images could not be read (30 more not named)" in done.stderr


def test_stable_and_explain_on_the_command_line(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_ROWS", "memory://explained")
    Image.fromarray(hostile.picture()).save(tmp_path / "a.png", pnginfo=None)
    run = ["predict", str(tmp_path / "a.png"), "--model", str(bundle), "--stable", "--explain", str(tmp_path / "maps")]
    done = CliRunner().invoke(main, [*run, "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["stability"]["scores"]) == {"clean", *verdict.DELIVERY_VIEWS}
    assert found["stability"]["scores"]["clean"] == found["score"]
    with Image.open(found["map"]) as drawn_map:
        assert drawn_map.format == "PNG"
    assert len(fsspec.filesystem("memory").find("explained")) == 1 + len(
        verdict.DELIVERY_VIEWS
    )  # of the covered ones none
    assert (found["verdict"] == "uncertain") == bool(found["reasons"])


def test_a_calibrator_of_another_detectors_scores_is_refused_and_an_unknown_one_said(bundle, tmp_path):
    """Through the files of `predict`, `evaluate` and `predict` again."""
    rng = np.random.default_rng(0)
    for split, label, number in product(("val", "test"), (0, 1), range(4)):
        place = tmp_path / "known" / split / ("0_real", "1_fake")[label]
        place.mkdir(parents=True, exist_ok=True)
        noise = rng.normal(128, 8 + 20 * label, (40, 40, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(place / f"{number}.png")

    def run(*arguments):
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    predicted = run("predict", tmp_path / "known", "--model", bundle, "--csv", tmp_path / "s.csv")
    assert predicted.exit_code == 0, predicted.output
    identity = json.loads(run("predict", tmp_path / "known", "--model", bundle, "--json").stdout.splitlines()[0])[
        "model"
    ]
    assert identity.startswith("probe@")
    assert run("evaluate", tmp_path / "s.csv", "--out", tmp_path / "judged").exit_code == 0
    (path,) = (tmp_path / "judged/calibration").rglob("*.json")
    call = ("predict", tmp_path / "known", "--model", bundle, "--calibrator", path)
    assert "not known: whether" not in run(*call).output
    document = json.loads(path.read_text())
    population = document["calibrator"]["population"]
    assert population["models"] == [identity]
    population["models"] = ["cnn@0123"]
    path.write_text(json.dumps(document))
    assert f"the calibrator was fitted on scores of cnn@0123, not of {identity}" in run(*call).output
    assert run(*call).exit_code == run("evaluate", tmp_path / "s.csv", "--calibrator", path).exit_code == 2
    del population["models"]
    path.write_text(json.dumps(document))
    for again in (run(*call), run("evaluate", tmp_path / "s.csv", "--calibrator", path)):
        assert "not known: whether the calibrator was fitted on scores of this detector" in again.output
        assert again.exit_code == 0
