"""Row i of the embedding file is row i of the manifest, whatever happens to the images."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from aigid.core import embeddings
from aigid.core.errors import InputError
from aigid.degradations import views
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.encoder import TorchBackbone
from aigid.features.extract import extract
from aigid.features.preprocess import resize_and_crop
from aigid.images.decode import decode
from tests.helpers.images import unlabeled
from tests.helpers.tiny_models import SIGLIP

SETTINGS = BackboneSettings(library="transformers", model="tiny", config=SIGLIP, preprocess={"size": 32})


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
    found = extract(table, root, SETTINGS, ["clean", "jpeg65"], seed=0)
    assert found.status[3] == "truncated"
    assert found.status[6] == "not_an_image"
    assert found.status[10] == "missing"
    assert [sample.path for sample in found.failed] == ["03.png", "06.png", "10.png"]
    backbone = TorchBackbone(SETTINGS, torch.device("cpu"))
    for n in (0, 1, 2, 4, 5, 7, 8, 9):
        content = (root / f"{n:02}.png").read_bytes()
        assert found.status[n] == "ok"
        digest = hashlib.sha256(content).hexdigest()
        assert found.key[n].decode() == digest
        for view, rows in found.views.items():
            seen, _ = views.apply(view, decode(content), digest, 0)
            expected = backbone.encode(np.stack([resize_and_crop(seen, SETTINGS.preprocess)]))[0]
            np.testing.assert_allclose(rows[n], expected, atol=2e-3)  # float16
    for rows in found.views.values():
        assert rows.dtype == np.float16
        assert np.isnan(rows[[3, 6, 10]]).all()
    found.write(tmp_path / "out.h5")
    read = embeddings.read(tmp_path / "out.h5")
    assert read.status.tolist() == found.status
    assert read.attributes["fingerprint"] == [backbone.fingerprint]
    assert read.attributes["views"]["jpeg65"] == views.to_dict("jpeg65")


def test_the_machine_changes_no_row(images, tmp_path, monkeypatch):
    root, table = images
    first = extract(table, root, SETTINGS)
    for batch, workers in ((64, 1), (64, 3), (1, 2), (3, 1)):
        monkeypatch.setenv("AIGID_CACHE", str(tmp_path / f"cache-{batch}-{workers}"))
        monkeypatch.setenv("AIGID_BATCH", str(batch))
        monkeypatch.setenv("AIGID_WORKERS", str(workers))
        found = extract(table, root, SETTINGS)
        np.testing.assert_allclose(found.views["clean"], first.views["clean"], atol=2e-3)
        if batch == 64:
            np.testing.assert_array_equal(found.views["clean"], first.views["clean"])


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


def test_several_towers_stand_side_by_side(images):
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
    found = extract(table, root, SETTINGS)
    assert found.status == ["changed", "ok"]
    assert "in the manifest" in found.failed[0].message


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
