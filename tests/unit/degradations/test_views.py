"""Views by content, name and seed; a dataset written in a view."""

import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.files import sha256
from aigid.degradations import views
from aigid.degradations.views import export_view
from aigid.images.decode import decode

CONTRACT = {"clean", "lr112", "lr64", "jpeg65", "jpeg30", "blur3", "blur5", "ntire_basic"} | {
    f"nycu_aug{i}" for i in range(8)
}
RANDOM = ["ntire_train", "featdistill_extra", "featdistill", "dda", "ufd", "nycu_aug7"]


def picture(index: int) -> tuple[np.ndarray, str]:
    image = np.random.default_rng(index).integers(0, 256, (32 + index % 3, 40, 3), dtype=np.uint8)
    return image, hashlib.sha256(image).hexdigest()


def digest(name: str, index: int) -> str:
    """Of a view of picture ``index``: its bytes and what was drawn."""
    image, drawn = views.apply(name, *picture(index), seed=0)
    return hashlib.sha256(image.tobytes() + json.dumps(drawn).encode()).hexdigest()


def test_the_contracts_names_exist():
    assert set(views.VIEWS) >= CONTRACT


def test_the_older_name_of_ntires_view_is_the_same_policy():
    assert views.to_dict("ntire_basic")["policy"] == views.to_dict("ntire_train")["policy"]


def test_definition_tells_the_parameters():
    assert views.to_dict("jpeg65")["policy"] == {"chain": {"stages": [[1, ["jpeg", {"quality": 65}]]]}}


def test_unknown_view_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown view 'jpg65'; known: clean, .*jpeg65.*ntire_basic"):
        views.apply("jpg65", *picture(0), seed=0)


def test_views_depend_on_hash_name_and_seed():
    image, sha256 = picture(0)

    def noise(name: str, sha256: str, seed: int) -> bytes:
        return views.apply(name, image, sha256, seed)[0].tobytes()

    base = noise("noise10", sha256, 0)
    assert len({base, noise("noise10", "0" * 64, 0), noise("noise10", sha256, 1), noise("nycu_aug3", sha256, 0)}) == 4


def test_draws_depend_on_hash_name_and_seed():
    def drawn(name: str, sha256: str, seed: int) -> str:
        return json.dumps(views.sample_view(name, sha256, seed))

    assert len({drawn("nycu_aug2", f"{i:064}", 0) for i in range(50)}) == 50
    assert len({drawn("nycu_aug2", "a" * 64, seed) for seed in range(50)}) == 50
    assert len({drawn(name, "a" * 64, 0) for name in ("nycu_aug2", "nycu_aug5", "nycu_aug6")}) == 3


def test_order_and_number_of_workers_leave_the_bytes_alone():
    jobs = [(name, index) for name in RANDOM for index in range(8)]
    one_by_one = {job: digest(*job) for job in jobs}
    shuffled = np.random.default_rng(0).permutation(len(jobs))
    assert {jobs[i]: digest(*jobs[i]) for i in shuffled} == one_by_one
    with ThreadPoolExecutor(4) as workers:
        assert dict(zip(jobs, workers.map(digest, *zip(*jobs, strict=True)), strict=True)) == one_by_one
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as worker:
        assert list(worker.map(digest, *zip(*jobs[:10], strict=True))) == [one_by_one[job] for job in jobs[:10]]


def test_low_resolution_returns_224_pixels_of_64():
    image = np.asarray(Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 40).convert("RGB"))
    out, _ = views.apply("lr64", image, "a" * 64, 0)
    small = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(out, np.asarray(small.resize((224, 224), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("shape", [(40, 40), (700, 900), (1, 1)])
def test_normalize512_gives_both_classes_one_geometry(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert views.apply("normalize512", image, "a" * 64, 0)[0].shape == (512, 512, 3)


def test_nycu_compositions_apply_right_to_left():
    def operators(index: int) -> list[str]:
        return [step["operator"] for step in views.sample_view(f"nycu_aug{index}", "a" * 64, 0)]

    assert [operators(i) for i in range(8)] == [
        [], ["hflip"], ["brightness"], ["whitenoise"], ["jpeg"],
        ["whitenoise", "brightness"], ["jpeg", "brightness"], ["jpeg", "whitenoise"],
    ]  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.png"):
        Image.fromarray(rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)).save(root / name)
    (root / "c.png").write_bytes(b"")
    table = pd.DataFrame({"path": ["a.png", "b.jpg", "c.png"], "label": [0, 1, 1], "generator": ["real", "x", "x"]})
    return root, manifest.validate(table.assign(split="test"), "table")


def test_images_are_those_of_the_view(dataset, tmp_path):
    root, table = dataset
    failed = export_view(table, root, "ntire_train", 3, tmp_path / "out")
    assert [path for path, _ in failed] == ["c.png"]
    written = manifest.read(tmp_path / "out/manifest.csv")
    assert written["path"].tolist() == ["a.png", "b.jpg.png"]
    lines = [json.loads(line) for line in (tmp_path / "out/drawn.jsonl").read_text().splitlines()]
    for old, new, line, digest in zip(["a.png", "b.jpg"], written["path"], lines, written["sha256"], strict=True):
        expected, drawn = views.apply("ntire_train", decode(root / old), sha256(root / old), 3)
        np.testing.assert_array_equal(decode(tmp_path / "out" / new), expected)
        assert line == {"path": new, "drawn": drawn}
        assert sha256(tmp_path / "out" / new) == digest


def test_calls_that_cannot_be(dataset, tmp_path):
    root, table = dataset
    with pytest.raises(InputError, match="unknown view 'blurry'"):
        export_view(table, root, "blurry", 0, tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        export_view(table, tmp_path / "nowhere", "jpeg65", 0, tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        export_view(table, root, "jpeg65", 0, root)
    assert not (tmp_path / "out").exists()


def test_a_policys_definition_tells_its_parameters_and_what_is_held_out():
    whole, part = (views.policy_to_dict("featdistill", frozenset(removed)) for removed in ((), ["jpeg"]))
    assert whole["revision"] == views.CACHE_VERSION
    assert '"quality"' in json.dumps(part)  # of jpeg_blockiness
    assert '"jpeg"' in json.dumps(whole)
    assert '"jpeg"' not in json.dumps(part)
