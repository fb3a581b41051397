"""The demo dataset, at a small size: the same bytes twice, and nothing but pixels tells fakes from photographs."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch._dynamo  # which the first optimizer imports
from PIL import Image

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.params import validate
from aigid.data import demo
from aigid.data.demo import DemoSettings, build, load_source_images
from aigid.generators import training
from aigid.images import has_color
from aigid.images.decode import decode
from aigid.images.headers import Header, read_header

SMALL = DemoSettings(
    steps=2, width=8, tile_size=32, stride=32, tiles_per_photograph=6,
    train=("chelsea", "coins"), val=("grace_hopper",), test=("camera", "coffee"),
)  # fmt: skip
PHOTOGRAPHS = {*SMALL.train, *SMALL.val, *SMALL.test}


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """A cache that the tests of this file share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(monkeypatch, generators):
    monkeypatch.setenv("AIGID_CACHE", str(generators))
    return generators


@pytest.fixture(scope="module", autouse=True)
def forked():
    """Processes that have torch and its optimizers already, which takes them seconds otherwise.

    A process with threads of OpenMP is not forked: its children would wait for threads that they do not have.
    """
    training.build("vae", 8)
    with pytest.MonkeyPatch.context() as patch:
        if torch.get_num_threads() == 1:
            patch.setattr(demo, "get_context", lambda kind: multiprocessing.get_context("fork"))
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory, generators):
    root = tmp_path_factory.mktemp("demo") / "images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(generators))
        return root, build(SMALL, root)


@pytest.mark.slow
def test_two_builds_are_byte_identical(built, tmp_path, monkeypatch):
    root, table = built
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))  # train them again
    again = build(SMALL, tmp_path / "images")
    assert again.equals(table)
    files = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    assert [str(path) for path in files] == sorted(table["path"])
    assert all((root / path).read_bytes() == (tmp_path / "images" / path).read_bytes() for path in files)


def test_the_manifest_keeps_its_promises(built):
    _, table = built
    manifest.validate(table, "demo")  # no group straddles a split, a path stands once
    fakes = table[table["label"] == 1]
    assert set(fakes["generator"][fakes["split"] != "test"]) == {"vae", "vqvae"}
    assert set(fakes["generator"][fakes["split"] == "test"]) == {*SMALL.seen, *SMALL.unseen}
    per_cell = table.groupby(["split", "group", "generator"]).size()
    assert set(per_cell) == {6}
    assert set(table["group"]) == PHOTOGRAPHS


def test_every_installed_photograph_is_in_a_split():
    settings = DemoSettings()
    names = (*settings.train, *settings.val, *settings.test)
    assert sorted(names) == sorted(photograph.name for photograph in load_source_images())


def test_only_the_pixels_differ(built):
    root, table = built
    outside = set()
    for path in table["path"]:
        outside.add(replace(read_header(root / path), num_bytes=0))
    assert outside == {Header("PNG", 0, 32, 32, "RGB", 8)}


def test_a_fake_shows_what_its_photograph_shows(built):
    root, table = built
    for path in table["path"][(table["generator"] == "srgan")]:
        fake = np.asarray(Image.open(root / path)).astype(float)
        real = np.asarray(Image.open(root / path.replace("srgan", "real"))).astype(float)
        assert 0 < np.abs(fake - real).mean() < 25


def test_a_gray_photograph_has_gray_fakes(built):
    root, table = built
    color = {photograph.name: has_color(photograph.image) for photograph in load_source_images()}
    for path, group in zip(table["path"], table["group"], strict=True):
        assert has_color(decode(root / path)) == color[group]
    assert {name for name, colored in color.items() if not colored} == {"brick", "camera", "coins", "gravel"}


def test_bad_settings_and_folders(built):
    root, _ = built
    with pytest.raises(InputError, match="not empty"):
        build(SMALL, root)
    with pytest.raises(InputError, match="'china' stands twice"):
        validate({"train": ["china"]}, DemoSettings, "demo.demo")
    with pytest.raises(InputError, match=r"demo\.demo\.train\.0: .*'lena'"):
        validate({"train": ["lena"]}, DemoSettings, "demo.demo")


def kept(cache):
    """The trained generators, and when each was written."""
    return {file: file.stat().st_mtime_ns for file in cache.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_second_dataset_shares_the_trained_generators(built, tmp_path, cache):
    """With every generator in every split, shared images are the same bytes, and nothing is trained again."""
    root, table = built
    everywhere = SMALL.model_copy(update={"seen": ("vae", "dcgan"), "unseen": ()})
    before = kept(cache)
    both = build(everywhere, tmp_path / "both")
    assert kept(cache) == before
    assert set(both["generator"][both["split"] == "train"]) == {"real", "vae", "dcgan"}
    shared = sorted(set(both["path"]) & set(table["path"]))
    assert len(shared) == 6 * (2 * len(PHOTOGRAPHS) + len(SMALL.test))
    assert all((root / path).read_bytes() == (tmp_path / "both" / path).read_bytes() for path in shared)
    build(everywhere.model_copy(update={"tiles_per_photograph": 5}), tmp_path / "other")
    assert len(kept(cache)) == len(before) + 2  # other tiles, other weights


@pytest.mark.slow
def test_a_damaged_generator_is_trained_again(built, tmp_path, cache):
    root, _ = built
    for file in cache.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    one = SMALL.model_copy(update={"seen": ("vae",), "unseen": ()})
    table = build(one, tmp_path / "again")
    assert all((root / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in table["path"])
