"""Row i of the embedding file is row i of the manifest, whatever happens to the images.

Several backbones share one pass of decoding, whatever order their files are made in.
"""

import hashlib
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image

from aigid.cli.main import main
from aigid.core import cache, embeddings, manifest
from aigid.core.errors import InputError
from aigid.degradations import views
from aigid.detectors.samples import open_dataset
from aigid.features import reader
from aigid.features.backbones import (
    BackboneSettings,
    ConcatSettings,
    backbone_settings,
    components,
    other_backbones,
)
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import extract
from aigid.features.preprocess import resize_and_crop
from aigid.images.decode import decode
from stages.extract import main as stage
from tests.helpers.images import unlabeled
from tests.helpers.tiny_models import SIGLIP

SETTINGS = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})
SECOND = SETTINGS.model_copy(update={"seed": 1, "preprocess": SETTINGS.preprocess.model_copy(update={"size": 64})})
SECOND = SECOND.model_copy(update={"config": SIGLIP | {"image_size": 64}})


@pytest.fixture
def images(tmp_path):
    """Eleven images of odd sizes below ``tmp_path/images``, three of them unreadable, and their manifest."""
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    for n in range(11):
        pixels = rng.integers(0, 256, (40 + n, 60 - n, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{n:02}.png")
    (root / "03.png").write_bytes((root / "03.png").read_bytes()[:200])
    (root / "06.png").write_text("<html></html>")
    (root / "10.png").unlink()
    return root, unlabeled([f"{n:02}.png" for n in range(11)])


def test_rows_are_the_manifests(images, tmp_path):
    root, table = images
    result = extract(table, root, SETTINGS, ["clean", "jpeg65"], seed=0)
    assert result.status[3] == "truncated"
    assert result.status[6] == "not_an_image"
    assert result.status[10] == "missing"
    assert [sample.path for sample in result.failed] == ["03.png", "06.png", "10.png"]
    backbone = TorchBackbone(SETTINGS, torch.device("cpu"))
    for n in (0, 1, 2, 4, 5, 7, 8, 9):
        content = (root / f"{n:02}.png").read_bytes()
        assert result.status[n] == "ok"
        digest = hashlib.sha256(content).hexdigest()
        assert result.key[n].decode() == digest
        for view, rows in result.views.items():
            seen, _ = views.apply(view, decode(content), digest, 0)
            expected = backbone.encode(np.stack([resize_and_crop(seen, SETTINGS.preprocess)]))[0]
            np.testing.assert_allclose(rows[n], expected, atol=2e-3)  # float16
    for rows in result.views.values():
        assert rows.dtype == np.float16
        assert np.isnan(rows[[3, 6, 10]]).all()
    result.write(tmp_path / "out.h5")
    read = embeddings.read(tmp_path / "out.h5")
    assert read.status.tolist() == result.status
    assert read.attributes["fingerprint"] == [backbone.fingerprint]
    assert read.attributes["views"]["jpeg65"] == views.to_dict("jpeg65")


def test_the_machine_changes_no_row(images, tmp_path, monkeypatch):
    root, table = images
    first = extract(table, root, SETTINGS)
    for batch, workers in ((64, 1), (64, 3), (1, 2), (3, 1)):
        monkeypatch.setenv("AIGID_CACHE", str(tmp_path / f"cache-{batch}-{workers}"))
        monkeypatch.setenv("AIGID_BATCH", str(batch))
        monkeypatch.setenv("AIGID_WORKERS", str(workers))
        result = extract(table, root, SETTINGS)
        np.testing.assert_allclose(result.views["clean"], first.views["clean"], atol=2e-3)
        if batch == 64:
            np.testing.assert_array_equal(result.views["clean"], first.views["clean"])


def test_rows_and_files_of_another_decoding_are_not_trusted(images, tmp_path, monkeypatch):
    root, table = images
    with monkeypatch.context() as before:
        before.setattr(cache, "DECODING", 1)
        extract(table, root, SETTINGS).write(tmp_path / "old.h5")
    new = extract(table, root, SETTINGS)
    assert new.num_computed == 11
    new.write(tmp_path / "new.h5")
    open_dataset(table, [tmp_path / "new.h5"])
    with pytest.raises(InputError, match=r"old\.h5: decoded by revision 1, want 2; extract again"):
        open_dataset(table, [tmp_path / "old.h5"])


def test_only_what_is_new_is_computed(images, monkeypatch, tmp_path):
    root, table = images
    monkeypatch.setenv("AIGID_BATCH", "4")
    few = extract(table[:5], root, SETTINGS)
    assert few.num_computed == 5
    more = extract(table, root, SETTINGS)
    assert more.num_computed == 7  # the six new ones, and the unreadable one again
    again = extract(table.iloc[::-1].reset_index(drop=True), root, SETTINGS)
    assert again.num_computed == 3
    np.testing.assert_array_equal(again.views["clean"][::-1], more.views["clean"])
    assert extract(table, root, SETTINGS, ["clean", "jpeg65"]).num_computed == 11
    assert extract(table, root, SETTINGS, ["jpeg65"]).num_computed == 3
    part = SETTINGS.model_copy(update={"seed": 1})
    joint = ConcatSettings(library="joint", parts=[SETTINGS, part])
    assert extract(table, root, joint).num_computed == 11
    assert extract(table, root, part).num_computed == 3
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "another"))
    alone = extract(table, root, SETTINGS)
    assert alone.num_computed == 11
    np.testing.assert_array_equal(alone.views["clean"], more.views["clean"])


def test_a_damaged_shard_is_set_aside_and_recomputed(images, tmp_path, caplog):
    root, table = images
    first = extract(table, root, SETTINGS)
    (shard,) = (tmp_path / "cache").glob("embeddings/*/*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-3] ^= 64
    shard.write_bytes(content)
    again = extract(table, root, SETTINGS)
    assert again.num_computed == 11
    np.testing.assert_array_equal(again.views["clean"], first.views["clean"])
    assert sorted(path.suffix for path in shard.parent.iterdir()) == [".damaged", ".json", ".safetensors"]
    assert shard.name in caplog.text


def test_parts_of_a_joint_backbone_are_concatenated(images):
    root, table = images
    parts = [SETTINGS, SETTINGS.model_copy(update={"seed": 1, "preprocess": SETTINGS.preprocess.model_copy()})]
    both = extract(table, root, ConcatSettings(library="joint", parts=parts))
    assert both.views["clean"].shape == (11, 64)
    assert len(both.attributes["fingerprint"]) == 2
    for number, part in enumerate(parts):
        alone = extract(table, root, part)
        columns = slice(32 * number, 32 * number + 32)
        np.testing.assert_array_equal(both.views["clean"][:, columns], alone.views["clean"])


def test_a_changed_image_has_no_row(images):
    root, table = images
    hashes = [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in table["path"][:2]]
    table = table[:2].assign(sha256=[hashes[1], hashes[1]])
    result = extract(table, root, SETTINGS)
    assert result.status == ["changed", "ok"]
    assert "in the manifest" in result.failed[0].message


def test_values_that_float16_cannot_hold_are_refused(images, monkeypatch):
    root, table = images
    monkeypatch.setattr(
        TorchBackbone, "encode_async", lambda self, batch: lambda: np.full((len(batch), 32), 1e5, np.float32)
    )
    with pytest.raises(InputError, match="an embedding reaches 100000, more than float16 holds"):
        extract(table, root, SETTINGS)
    wide = extract(table, root, SETTINGS.model_copy(update={"dtype": "float32"}))
    assert wide.views["clean"][0, 0] == 1e5


def test_bad_calls(images, tmp_path):
    root, table = images
    with pytest.raises(InputError, match="unknown view 'blurry'; known: clean"):
        extract(table, root, SETTINGS, ["clean", "blurry"])
    with pytest.raises(InputError, match="no such folder"):
        extract(table, tmp_path / "nowhere", SETTINGS)


@pytest.fixture
def jpegs(tmp_path):
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
    monkeypatch.setattr(reader, "decode", lambda *args, **options: count.append(1) or decode(*args, **options))
    return count


def test_the_others_find_their_rows(jpegs, decoded, monkeypatch, tmp_path):
    root, table = jpegs
    views = ["clean", "jpeg65"]
    together = extract(table, root, SETTINGS, views, co_extract=[SECOND])
    assert len(decoded) == 9
    after = extract(table, root, SECOND, views, co_extract=[SETTINGS])
    assert len(decoded) == 10  # the damaged one, once more
    assert (together.num_computed, after.num_computed) == (9, 1)
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "another"))
    for settings, result in ((SETTINGS, together), (SECOND, after)):
        alone = extract(table, root, settings, views)
        assert alone.status == result.status
        for view in views:
            np.testing.assert_array_equal(alone.views[view], result.views[view])


def test_only_images_that_are_decoded_anyway(jpegs, decoded):
    root, table = jpegs
    extract(table[:4], root, SETTINGS)
    extract(table[:6], root, SETTINGS, co_extract=[SECOND])
    assert extract(table[:6], root, SECOND).num_computed == 5  # 5.jpg was served, 4.jpg is damaged


def test_one_that_cannot_be_loaded_stops_nothing(jpegs, caplog):
    root, table = jpegs
    gone = SETTINGS.model_copy(update={"weights": "nowhere.pt", "config": None})
    assert extract(table, root, SETTINGS, co_extract=[gone]).num_computed == 9
    assert "tiny is not computed alongside: weights nowhere.pt: no such file or folder" in caplog.text


def test_other_backbones_are_those_of_all_other_sections():
    sections = {
        "tiny_clip": {"seed": 0},
        "tiny_siglip": {"seed": 3},
        "tiny_both": {"library": "joint", "parts": ["tiny_clip", "tiny_siglip"], "decode": "fast"},
        "wrong": {"dtype": "int8"},
    }
    both = components(backbone_settings("tiny_both", sections["tiny_both"]))
    assert [part.decode for part in both] == ["fast", "fast"]
    assert other_backbones(sections, "tiny_clip") == [backbone_settings("tiny_siglip", {"seed": 3}), *both]
    del sections["tiny_both"]["decode"]
    assert other_backbones(sections, "tiny_siglip") == [
        backbone_settings("tiny_clip"),
        backbone_settings("tiny_siglip"),
    ]


def test_stages_share_the_decoding_and_a_change_runs_one(jpegs, decoded, monkeypatch, tmp_path):
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


def test_the_command_takes_several(jpegs, decoded, tmp_path):
    out = str(tmp_path / "{backbone}/demo.h5")
    done = call(tmp_path, "--backbone", "tiny_clip", "--backbone", "tiny_siglip", "--out", out)
    assert done.exit_code == 1
    assert done.stderr.count("4.jpg: truncated") == 1
    assert len(decoded) == 10
    assert embeddings.read(tmp_path / "tiny_clip/demo.h5").ok.sum() == 8
    assert embeddings.read(tmp_path / "tiny_siglip/demo.h5").attributes["backbone"]["library"] == "transformers"


def test_the_command_decodes_as_its_option_says(jpegs, tmp_path):
    for name in ("exact", "fast"):
        call(tmp_path, "--backbone", "tiny_clip", "--decode", name, "--out", str(tmp_path / f"{name}.h5"))
    exact, fast = (embeddings.read(tmp_path / f"{name}.h5") for name in ("exact", "fast"))
    assert fast.attributes["backbone"]["decode"] == "fast"
    assert exact.attributes["fingerprint"] != fast.attributes["fingerprint"]
    assert exact.status.tolist() == fast.status.tolist()
    a, b = (file.view("clean")[file.ok].astype(float) for file in (exact, fast))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (1 - cosine).max() < 1e-3


def test_bad_calls_of_several(jpegs, tmp_path):
    both = ("--backbone", "tiny_clip", "--backbone", "tiny_siglip")
    done = call(tmp_path, *both, "--out", "e.h5")
    assert done.exit_code == 2
    assert "--out e.h5: several backbones want {backbone} in it" in done.stderr
    done = call(tmp_path, *both, "--weights", "w.pt", "--out", "{backbone}.h5")
    assert done.exit_code == 2
    assert "--weights w.pt: belong to one backbone, and 2 are named" in done.stderr


def test_a_folder_is_no_file_to_write(jpegs, decoded, tmp_path):
    done = call(tmp_path, "--backbone", "tiny_clip", "--out", str(tmp_path))
    assert done.exit_code == 2
    assert f"--out {tmp_path}: is a folder" in done.stderr
    assert not decoded


def test_too_little_space_is_said_before_the_first_image(jpegs, decoded, monkeypatch, tmp_path):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 5000))
    done = call(tmp_path, "--backbone", "tiny_clip", "--out", str(tmp_path / "e.h5"))
    assert done.exit_code == 2
    assert "7.5 kB are needed there, 5.0 kB are free" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not decoded
    assert not (tmp_path / "e.h5").exists()
