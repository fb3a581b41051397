"""One pass of decoding for several backbones, whatever order their files are asked for in."""

import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from aigid.cli.main import main
from aigid.core import embeddings, manifest
from aigid.features import preprocess
from aigid.features.backbones import BackboneSettings, backbone_settings, components, other_backbones
from aigid.features.extract import extract
from stages.extract import main as stage
from tests.helpers.images import unlabeled
from tests.helpers.tiny_models import SIGLIP

FIRST = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})
SECOND = FIRST.model_copy(update={"seed": 1, "preprocess": FIRST.preprocess.model_copy(update={"size": 64})})
SECOND = SECOND.model_copy(update={"config": SIGLIP | {"image_size": 64}})


@pytest.fixture
def images(tmp_path):
    """Nine JPEGs below ``tmp_path/data/images/demo``, one of them damaged, and their manifest."""
    root = tmp_path / "data/images/demo"
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(9):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
        small.resize((160 - n, 120 + n)).save(root / f"{n}.jpg", quality=85 + n)
    (root / "4.jpg").write_bytes((root / "4.jpg").read_bytes()[:300])
    manifest.write(unlabeled([f"{n}.jpg" for n in range(9)]), tmp_path / "m.csv")
    return root, manifest.read(tmp_path / "m.csv")


@pytest.fixture
def decoded(monkeypatch):
    """The number of decodings so far."""
    count = []
    exact = preprocess.DECODE_BACKENDS["exact"]
    counted = exact._replace(decode=lambda content: count.append(1) or exact.decode(content))
    monkeypatch.setitem(preprocess.DECODE_BACKENDS, "exact", counted)
    return count


def test_the_others_find_their_rows(images, decoded, monkeypatch, tmp_path):
    root, table = images
    views = ["clean", "jpeg65"]
    together = extract(table, root, FIRST, views, co_extract=[SECOND])
    assert len(decoded) == 9
    after = extract(table, root, SECOND, views, co_extract=[FIRST])
    assert len(decoded) == 10  # the damaged one, once more
    assert (together.num_computed, after.num_computed) == (9, 1)
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "another"))
    for settings, found in ((FIRST, together), (SECOND, after)):
        alone = extract(table, root, settings, views)
        assert alone.status == found.status
        for view in views:
            np.testing.assert_array_equal(alone.views[view], found.views[view])


def test_only_images_that_are_decoded_anyway(images, decoded):
    root, table = images
    extract(table[:4], root, FIRST)
    extract(table[:6], root, FIRST, co_extract=[SECOND])
    assert extract(table[:6], root, SECOND).num_computed == 5  # 5.jpg was served, 4.jpg is damaged


def test_one_that_cannot_be_loaded_stops_nothing(images, caplog):
    root, table = images
    gone = FIRST.model_copy(update={"weights": "nowhere.pt", "config": None})
    assert extract(table, root, FIRST, co_extract=[gone]).num_computed == 9
    assert "tiny is not computed alongside: weights nowhere.pt: no such file or folder" in caplog.text


def test_the_companions_of_a_backbone():
    sections = {
        "tiny_clip": {"seed": 0},
        "tiny_siglip": {"seed": 3},
        "tiny_both": {"library": "joint", "parts": ["tiny_clip", "tiny_siglip"], "decode": "fast"},
        "wrong": {"dtype": "int8"},
    }
    both = components(backbone_settings("tiny_both", sections["tiny_both"]))
    assert [tower.decode for tower in both] == ["fast", "fast"]
    assert other_backbones(sections, "tiny_clip") == [backbone_settings("tiny_siglip", {"seed": 3}), *both]
    del sections["tiny_both"]["decode"]
    assert other_backbones(sections, "tiny_siglip") == [
        backbone_settings("tiny_clip"),
        backbone_settings("tiny_siglip"),
    ]


def test_stages_share_the_decoding_and_a_change_runs_one(images, decoded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sections = {
        "tiny_clip": {"seed": 0},
        "tiny_siglip": {"seed": 0},
        "tiny_both": {"library": "joint", "parts": ["tiny_clip", "tiny_siglip"]},
    }

    def run(name):
        Path("params.yaml").write_text(yaml.safe_dump({"seed": 0, "views": ["clean"], "backbones": sections}))
        before = len(decoded)
        call = ["--backbone", name, "--dataset", "demo", "--manifest", "m.csv", "--out", f"{name}.h5"]
        done = CliRunner().invoke(stage, call)
        assert done.exit_code == 0, done.output
        return len(decoded) - before

    assert [run(name) for name in sections] == [9, 1, 1]
    rows = [embeddings.read(f"{name}.h5").view("clean") for name in sections]
    np.testing.assert_array_equal(rows[2], np.hstack(rows[:2]))
    bytes_before = Path("tiny_clip.h5").read_bytes()
    sections["tiny_siglip"]["seed"] = 5
    assert [run("tiny_clip"), run("tiny_siglip")] == [1, 9]
    assert Path("tiny_clip.h5").read_bytes() == bytes_before


def call(folder, *more):
    start = ["extract", str(folder / "m.csv"), "--root", str(folder / "data/images/demo")]
    return CliRunner().invoke(main, [*start, *more])


def test_the_command_takes_several(images, decoded, tmp_path):
    out = str(tmp_path / "{backbone}/demo.h5")
    done = call(tmp_path, "--backbone", "tiny_clip", "--backbone", "tiny_siglip", "--out", out)
    assert done.exit_code == 1
    assert done.stderr.count("4.jpg: truncated") == 1
    assert len(decoded) == 10
    assert embeddings.read(tmp_path / "tiny_clip/demo.h5").ok.sum() == 8
    assert embeddings.read(tmp_path / "tiny_siglip/demo.h5").attributes["backbone"]["library"] == "transformers"


def test_the_command_decodes_as_told(images, tmp_path):
    for decode in ("exact", "fast"):
        call(tmp_path, "--backbone", "tiny_clip", "--decode", decode, "--out", str(tmp_path / f"{decode}.h5"))
    exact, fast = (embeddings.read(tmp_path / f"{decode}.h5") for decode in ("exact", "fast"))
    assert fast.attributes["backbone"]["decode"] == "fast"
    assert exact.attributes["fingerprint"] != fast.attributes["fingerprint"]
    assert exact.status.tolist() == fast.status.tolist()
    a, b = (found.view("clean")[found.ok].astype(float) for found in (exact, fast))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (1 - cosine).max() < 1e-3


def test_bad_calls_of_several(images, tmp_path):
    both = ("--backbone", "tiny_clip", "--backbone", "tiny_siglip")
    done = call(tmp_path, *both, "--out", "e.h5")
    assert done.exit_code == 2
    assert "--out e.h5: several backbones want {backbone} in it" in done.stderr
    done = call(tmp_path, *both, "--weights", "w.pt", "--out", "{backbone}.h5")
    assert done.exit_code == 2
    assert "--weights w.pt: belong to one backbone, and 2 are named" in done.stderr


def test_a_folder_is_no_file_to_write(images, decoded, tmp_path):
    done = call(tmp_path, "--backbone", "tiny_clip", "--out", str(tmp_path))
    assert done.exit_code == 2
    assert f"--out {tmp_path}: is a folder" in done.stderr
    assert not decoded


def test_too_little_space_is_said_before_the_first_image(images, decoded, monkeypatch, tmp_path):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 5000))
    done = call(tmp_path, "--backbone", "tiny_clip", "--out", str(tmp_path / "e.h5"))
    assert done.exit_code == 2
    assert "7.5 kB are needed there, 5.0 kB are free" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not decoded
    assert not (tmp_path / "e.h5").exists()
