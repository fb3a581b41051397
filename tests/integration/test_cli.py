"""The `aigid` command from outside: exit statuses, one clear line, nothing half-written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from aigid.core import embeddings, manifest
from tests.helpers.cli import aigid, refused
from tests.helpers.images import class_folders


@pytest.fixture
def images(tmp_path):
    class_folders(tmp_path / "images")
    return tmp_path


def test_the_installed_command_ends_as_promised(images):
    command = [Path(sys.executable).with_name("aigid"), "index", "nowhere", "--layout", "csv", "--out", "m.csv"]
    done = subprocess.run(command, cwd=images, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "Error: nowhere: no such folder\n")


def test_index_then_extract(images):
    done = aigid("index", "images", "--layout", "realfake", "--out", "m.csv", cwd=images)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert "sdxl: 3" in done.stderr
    (images / "images/0_real/2.png").write_bytes(b"not an image")
    table = manifest.read(images / "m.csv").drop(columns="sha256")
    manifest.write(table, images / "m.csv")
    done = aigid(
        "extract", "m.csv", "--root", "images", "--backbone", "tiny_clip", "--view", "clean", "--view", "jpeg65",
        "--out", "deep/e.h5", cwd=images,
    )  # fmt: skip
    assert done.exit_code == 1, done.stderr
    assert "0_real/2.png: not_an_image" in done.stderr
    read = embeddings.read(images / "deep/e.h5")
    assert list(read.views) == ["clean", "jpeg65"]
    assert read.status[table["path"].tolist().index("0_real/2.png")] == "not_an_image"
    assert read.ok.sum() == 5


def test_calls_that_cannot_be(images):
    refused(aigid("index", "nowhere", "--layout", "realfake", "--out", "m.csv", cwd=images), "nowhere: no such folder")
    refused(aigid("index", "images", "--layout", "raelfake", "--out", "m.csv", cwd=images), "'raelfake'", "realfake")
    refused(aigid("index", "images", "--layout", "realfake", "--out", "m.txt", cwd=images), "m.txt", ".csv")
    refused(
        aigid("index", "images", "--layout", "realfake", "--out", "m.csv", "--val", "2", cwd=images), "'--val'", "2"
    )
    refused(aigid("index", "images/0_real", "--layout", "realfake", "--out", "m.csv", cwd=images), "no image")
    assert not (images / "m.csv").exists()
    extract = ("extract", "m.csv", "--root", "images", "--out", "e.h5", "--backbone")
    refused(aigid(*extract, "tiny_clip", cwd=images), "m.csv: no such file")
    assert aigid("index", "images", "--layout", "realfake", "--out", "m.csv", cwd=images).exit_code == 0
    refused(aigid(*extract, "clip_l", cwd=images), "'clip_l'", "tiny_clip")
    refused(aigid(*extract, "tiny_clip", "--view", "blurry", cwd=images), "'blurry'", "clean")
    refused(aigid(*extract, "siglip_b16", "--weights", "nowhere", cwd=images), "nowhere")
    refused(
        aigid("extract", "m.csv", "--root", "nowhere", "--out", "e.h5", "--backbone", "tiny_clip", cwd=images),
        "no such",
    )
    assert sorted(path.name for path in images.iterdir()) == ["cache", "images", "m.csv"]


@pytest.fixture
def scores(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    frame = pd.DataFrame(
        {
            "path": [f"{n}.png" for n in range(200)],
            "label": label,
            "generator": np.where(label, "sdxl", "real"),
            "split": np.where(np.arange(200) < 60, "val", "test"),
            "view": "clean",
            "score": np.clip(rng.normal(0.4 + 0.2 * label, 0.2), 0, 1).round(2),
        }
    )
    frame.to_csv(tmp_path / "s.csv", index=False)
    return tmp_path, frame


def test_evaluate_prints_one_json_document(scores):
    folder, frame = scores
    done = aigid("evaluate", "s.csv", "--json", "--out", "out", cwd=folder)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    test = frame[frame["split"] == "test"]
    assert found["auroc"] == pytest.approx(roc_auc_score(test["label"], test["score"]), abs=1e-12)
    assert found["acc_05"] == pytest.approx(((test["score"] > 0.5) == test["label"]).mean(), abs=1e-12)
    assert found["num_real"] == found["num_fake"] == 70
    assert "no worst_source_fpr: " in done.stderr
    assert "worst_source_fpr" not in found
    assert json.loads((folder / "out/metrics/s/scores.json").read_text()) == found
    assert "0.5" in (folder / "out/report/table.md").read_text()


def test_evaluate_compares_files_and_maps_columns(scores):
    folder, frame = scores
    frame.assign(score=1 - frame["score"]).rename(columns={"score": "prob_fake"}).to_parquet(folder / "other.parquet")
    done = aigid("evaluate", "other.parquet", "--columns", "score=prob_fake", "--json", cwd=folder)
    forth = json.loads(aigid("evaluate", "s.csv", "--json", cwd=folder).stdout)
    assert json.loads(done.stdout)["auroc"] == pytest.approx(1 - forth["auroc"], abs=1e-12)
    frame.to_csv(folder / "t.csv", index=False)
    both = json.loads(aigid("evaluate", "s.csv", "t.csv", "--json", cwd=folder).stdout)
    assert both == {"s": forth, "t": forth}
    refused(aigid("evaluate", "s.csv", "--columns", "score", cwd=folder), "'score'", "OURS=THEIRS")


def test_evaluate_speaks_of_differences_and_protocols(scores):
    folder, frame = scores
    rng = np.random.default_rng(1)
    frame.assign(score=np.clip(frame["score"] + rng.normal(0, 0.3, len(frame)), 0, 1)).to_csv(folder / "t.csv")
    done = aigid("evaluate", "s.csv", "t.csv", "--out", "out", cwd=folder)
    assert done.exit_code == 0, done.stderr
    assert "s" in done.stdout
    assert "difference" in done.stdout.lower()
    assert "difference" in (folder / "out/report/index.html").read_text().lower()
    frame[:-2].to_csv(folder / "u.csv", index=False)
    assert "not compared: s and u: " in aigid("evaluate", "s.csv", "u.csv", "--json", cwd=folder).stderr
    pd.concat([frame, frame.assign(view="jpeg65")]).to_csv(folder / "v.csv", index=False)
    judged = json.loads(aigid("evaluate", "v.csv", "--json", "--protocol", "ntire", cwd=folder).stdout)
    assert judged["ntire_auroc_robust"] == judged["ntire_auroc_clean"] == judged["auroc"]
    refused(aigid("evaluate", "s.csv", "--protocol", "ntire", cwd=folder), "s.csv", "ntire", "distorted")
    frame[frame["split"] == "val"].to_csv(folder / "w.csv", index=False)
    refused(aigid("evaluate", "w.csv", cwd=folder), "w.csv", "no rows of split 'test'")
    refused(aigid("evaluate", "s.csv", "--protocol", "none", cwd=folder), "'none'", "ufd")


def test_scores_that_cannot_be_judged(scores):
    folder, frame = scores
    refused(aigid("evaluate", "nothing.csv", "--out", "out", cwd=folder), "nothing.csv")
    for column in ("path", "label", "generator", "split", "view", "score"):
        frame.drop(columns=column).to_csv(folder / "less.csv", index=False)
        refused(aigid("evaluate", "less.csv", "--out", "out", cwd=folder), f"no column '{column}'")
    for column, value in (("label", 2), ("score", 1.5), ("score", "high"), ("score", ""), ("split", "dev")):
        broken = frame.astype(object)
        broken.loc[7, column] = value
        broken.to_csv(folder / "broken.csv", index=False)
        refused(aigid("evaluate", "broken.csv", "--out", "out", cwd=folder), "row 8 (line 9)", column, f"{value}")
    assert not (folder / "out").exists()


def test_unreadable_images_are_counted_and_exit_1(scores):
    folder, frame = scores
    frame = frame.astype({"score": object}).assign(status="ok")
    frame.loc[100, ["score", "status"]] = ["", "truncated"]
    frame.to_csv(folder / "u.csv", index=False)
    done = aigid("evaluate", "u.csv", "--json", cwd=folder)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["num_unreadable"] == 1


def test_presets(tmp_path):
    done = aigid("preset", "demo", cwd=tmp_path)
    assert done.exit_code == 0
    first = (tmp_path / "params.yaml").read_text()
    done = aigid("preset", "cifake", cwd=tmp_path)
    assert "probe.dataset: demo -> cifake" in done.stdout
    done = aigid("preset", "demo", cwd=tmp_path)
    assert (tmp_path / "params.yaml").read_text() == first
    assert "nothing changed" in aigid("preset", "demo", cwd=tmp_path).stdout
    refused(aigid("preset", "dmeo", cwd=tmp_path), "'dmeo'", "cifake, defactify, demo, demo_clip")
    assert (tmp_path / "params.yaml").read_text() == first


def test_a_preset_says_what_is_missing_and_where_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_DATA", str(tmp_path / "data"))
    said = aigid("preset", "genimage", cwd=tmp_path).stdout
    assert "data/genimage" in said
    assert "{train,val}/{ai,nature}" in said
    assert "GenImage-Dataset/GenImage" in said
    (tmp_path / "data/genimage").mkdir(parents=True)
    assert "GenImage-Dataset" not in aigid("preset", "genimage", cwd=tmp_path).stdout


def test_audit_is_a_gate(images):
    assert aigid("index", "images", "--layout", "realfake", "--out", "m.csv", cwd=images).exit_code == 0
    done = aigid("audit", "m.csv", "--root", "images", "--json", cwd=images)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "clean"  # all six have one container
    rng = np.random.default_rng(0)
    for n in range(60):  # fakes are 8 px higher
        folder = images / "leak" / ("1_fake/sdxl" if n % 2 else "0_real")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (64 + 8 * (n % 2), 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    aigid("index", "leak", "--layout", "realfake", "--out", "leak.csv", cwd=images)
    done = aigid("audit", "leak.csv", "--root", "leak", "--fail-above", "0.6", cwd=images)
    assert done.exit_code == 1
    assert "height" in done.stdout
    done = aigid("degrade", "leak.csv", "--root", "leak", "--view", "normalize512", "--out", "mended", cwd=images)
    assert done.exit_code == 0, done.stderr
    done = aigid("audit", "mended/manifest.csv", "--root", "mended", "--fail-above", "0.6", cwd=images)
    assert done.exit_code == 0, done.stdout
    refused(aigid("audit", "leak.csv", "--root", "nowhere", cwd=images), "nowhere: no such folder")
    refused(aigid("audit", "leak.csv", "--root", "leak", "--fail-above", "2", cwd=images), "'--fail-above'", "2")
    refused(aigid("degrade", "leak.csv", "--root", "leak", "--view", "x", "--out", "o", cwd=images), "'x'", "jpeg65")
