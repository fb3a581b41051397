"""What the cache says it holds, what its check finds, and what an extraction would add: bytes and hours by hand."""

import json
import os
import time
from importlib.metadata import version

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.numpy import load_file

from aigid.cli.main import main
from aigid.core import cache as core_cache
from aigid.core import manifest
from aigid.core.shards import KEY
from aigid.features import cache_admin, row_cache
from aigid.features.backbones import BackboneSettings, backbone_settings
from aigid.features.extract import extract
from tests.helpers.images import noise_folder, random_images, unlabeled
from tests.helpers.tiny_models import SIGLIP

SETTINGS = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})


@pytest.fixture
def dataset(tmp_path):
    """Six images, their manifest, and a cache that holds them in two views."""
    root = tmp_path / "images"
    root.mkdir()
    for n, pixels in enumerate(random_images(6)):
        Image.fromarray(pixels).save(root / f"{n}.png")
    manifest.write(unlabeled([f"{n}.png" for n in range(6)]), tmp_path / "m.csv")
    extract(manifest.read(tmp_path / "m.csv"), root, SETTINGS, ["clean", "jpeg65"])
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["cache", *map(str, arguments)])


def verify(folder, *more):
    return run("verify", "--root", folder / "images", "--manifest", folder / "m.csv", *more)


def shards():
    return sorted(row_cache.embeddings_folder().glob("*/*.safetensors"))


def test_info_counts(dataset):
    info = json.loads(run("info", "--json").stdout)
    assert info["rows"] == 12
    assert info["bytes"] == sum(path.stat().st_size for path in shards())
    assert {(row["backbone"], row["view"], row["rows"]) for row in info["entries"]} == {
        ("transformers tiny", "clean", 6),
        ("transformers tiny", "jpeg65", 6),
    }
    row = info["entries"][0]
    names = ["entry", "backbone", "fingerprint", "view", "seed", "rows", "bytes", "shards", "damaged", "error"]
    assert list(row) == names
    assert (row["entry"], row["error"]) == (shards()[0].parent.name, "")
    text = run("info").stdout
    assert all(word in text for word in ("transformers tiny", "fingerprint", row["fingerprint"][:8], "jpeg65"))


def test_a_whole_cache_is_found_whole_and_left_as_it_was(dataset):
    before = {path: path.read_bytes() for path in row_cache.embeddings_folder().rglob("*") if path.is_file()}
    for folder in (row_cache.embeddings_folder(), *row_cache.embeddings_folder().iterdir()):
        folder.chmod(0o555)
    done = verify(dataset)
    info = run("info")
    for folder in (row_cache.embeddings_folder(), *row_cache.embeddings_folder().iterdir()):
        folder.chmod(0o755)
    assert (done.exit_code, info.exit_code) == (0, 0)
    assert done.stdout == "2 entries, 2 shards, 12 rows computed again; errors: 0\n"
    assert before == {path: path.read_bytes() for path in row_cache.embeddings_folder().rglob("*") if path.is_file()}
    assert verify(dataset, "--sample", 2).stdout.startswith("2 entries, 2 shards, 4 rows computed again")


def test_a_flipped_byte_is_named(dataset):
    shard = shards()[0]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    done = run("verify")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{shard}: damaged")
    assert done.stdout == "2 entries, 2 shards; errors: 1\n"


def test_a_header_that_is_cut_off_is_counted(dataset):
    shards()[0].write_bytes(b"\xff" * 8)
    shards()[1].write_bytes(b"")
    info = json.loads(run("info", "--json").stdout)
    assert (info["rows"], info["damaged"]) == (0, 2)
    assert run("verify").exit_code == 1


def test_swapped_rows_are_found_by_computing_them_again(dataset):
    (shard, _) = shards()
    arrays = load_file(shard)
    shard.unlink()
    core_cache.CacheEntry(shard.parent).add(arrays["key"].reshape(-1).view(KEY), arrays["rows"][[1, 0, 2, 3, 4, 5]])
    assert run("verify").exit_code == 0  # whole, as far as bytes tell
    done = verify(dataset)
    assert done.exit_code == 1
    assert done.stderr.count("the cached row differs by") == 2


def test_another_schema_and_a_changed_description_are_named(dataset):
    first, second = (entry.folder / core_cache.METADATA_FILE for entry in cache_admin.entries())
    first.write_text(json.dumps(json.loads(first.read_text()) | {"schema_version": 99}))
    second.write_text(json.dumps(json.loads(second.read_text()) | {"seed": 7}))
    done = verify(dataset)
    assert done.exit_code == 1
    assert "schema version 99, this code reads 1" in done.stderr
    assert "about.json was changed" in done.stderr
    assert run("info").exit_code == 0
    second.unlink()
    assert "about.json is missing or damaged" in run("verify").stderr


def test_an_image_that_changed_and_weights_that_are_gone(dataset):
    Image.fromarray(255 - random_images(1)[0]).save(dataset / "images/0.png")
    table = manifest.read(dataset / "m.csv")
    done = verify(dataset)
    assert "10 rows computed again; errors: 0" in done.stdout  # the changed one is not in the cache
    keys = np.concatenate([load_file(path)["key"].reshape(-1).view(KEY) for path in shards()])
    listed = table.assign(sha256=[keys[0].decode(), *["0" * 64] * 5])
    manifest.write(listed, dataset / "m.csv")
    assert ": changed: sha256" in verify(dataset).stderr or ": missing" in verify(dataset).stderr
    for entry in cache_admin.entries():
        metadata = entry.metadata | {"made_by": entry.metadata["made_by"] | {"weights": "nowhere.pt"}}
        (entry.folder / core_cache.METADATA_FILE).write_text(json.dumps(metadata))
    done = verify(dataset)
    assert done.exit_code == 1
    assert "cannot be computed again: weights nowhere.pt: no such file or folder" in done.stderr


def test_an_empty_cache(tmp_path):
    assert run("verify").stdout == "0 entries, 0 shards; errors: 0\n"
    assert json.loads(run("info", "--json").stdout)["rows"] == 0
    assert run("verify", "--root", tmp_path).exit_code == 2


@pytest.fixture
def images(tmp_path):
    noise_folder(tmp_path, 30)
    return tmp_path


def test_rows_bytes_and_hours(images):
    table, settings = manifest.read(images / "m.csv"), backbone_settings("tiny_clip")
    extract(table.head(10), images, settings)
    expected = cache_admin.estimate(table, images, {"tiny_clip": settings}, ["clean", "jpeg65"], rate=2.0)
    assert [(line.view, line.cached, line.missing) for line in expected.lines] == [("clean", 10, 20), ("jpeg65", 0, 30)]
    assert expected.lines[0].cache_bytes == 20 * (192 * 2 + 64)
    assert expected.images == 30
    assert expected.hours == pytest.approx(30 / 2 / 3600)
    extract(table, images, settings, ["clean", "jpeg65"]).write(images / "e.h5")
    with h5py.File(images / "e.h5") as file:
        assert file["views/clean"].nbytes == expected.lines[0].file_bytes
    done = cache_admin.estimate(table, images, {"tiny_clip": settings}, ["clean", "jpeg65"])
    assert (done.images, done.hours, done.rate) == (0, 0.0, None)


def test_the_sample_is_part_of_the_work(images):
    command = ["plan", str(images / "m.csv"), "--root", str(images), "--backbone", "tiny_clip", "--sample", "8"]
    first = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert first["images"] == 30
    assert first["rate"] > 0
    assert first["hours"] == pytest.approx(30 / first["rate"] / 3600)
    second = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert second["lines"][0]["cached"] == 8
    assert second["images"] == 22


def test_what_a_person_reads(images):
    command = ["plan", str(images / "m.csv"), "--root", str(images), "--backbone", "tiny_clip", "--rate", "10"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0
    assert "30 images to read, at 10.0 a second and machine (as given)" in done.stderr
    refused = CliRunner().invoke(main, [*command[:-1], "0"])
    assert refused.exit_code == 2


@pytest.fixture
def unfinished(tmp_path, monkeypatch):
    """Three checkpoints: one that a run may continue, one of weeks ago, one of another version of torch."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    names = {name: core_cache.checkpoint_path(f"sef {name}", [name]) for name in ("fresh", "old", "other")}
    names["other"] = names["other"].with_name(names["other"].name.replace(version("torch"), "0.4.1"))
    for path in names.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    weeks_ago = time.time() - 20 * 86400
    os.utime(names["old"], (weeks_ago, weeks_ago))
    return names


def test_info_tells_orphans_from_what_a_run_may_continue(unfinished):
    rows = {row["run"]: row for row in json.loads(run("info", "--json").stdout)["checkpoints"]}
    assert {name: row["orphan"] for name, row in rows.items()} == {
        "sef-fresh": "",
        "sef-old": "not written for 7 days",
        "sef-other": "of another version of torch or of aigid",
    }
    assert {row["bytes"] for row in rows.values()} == {1000}
    assert round(rows["sef-old"]["days"]) == 20
    assert "unfinished training" not in run("prune", "--dry-run").stdout
    assert "sef-old" in run("info").stdout


def test_prune_removes_orphans_alone(unfinished):
    assert run("prune", "--dry-run").stdout == "2 checkpoints to remove, 2.0 kB\n"
    assert all(path.exists() for path in unfinished.values())
    assert run("prune", "--days", "30").stdout == "1 checkpoints removed, 1.0 kB\n"
    assert run("prune").stdout == "1 checkpoints removed, 1.0 kB\n"
    assert {name for name, path in unfinished.items() if path.exists()} == {"fresh"}
