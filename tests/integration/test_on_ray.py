"""The Ray engine: the bytes of the local one, kills or not; and what it refuses. Runs where Ray is installed."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from aigid.core import manifest, ray, shards
from aigid.core.errors import InputError
from aigid.features import extract, pipeline, ray_actor, row_cache
from aigid.features.backbones import backbone_settings
from aigid.features.encoder import TorchBackbone
from aigid.features.pipeline import ExtractionTask
from tests.helpers.images import noise_folder

ROOT = Path(__file__).resolve().parents[2]
NUM = 96
RUN = """
import sys
from pathlib import Path
from aigid.core import manifest
from aigid.features import ray_actor
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
ray_actor.ROWS = 8
root, out = map(Path, sys.argv[1:])
table = manifest.read(root / "m.csv")
found = extract(table, root, backbone_settings("tiny_clip"), ["clean", "jpeg65"], engine="ray")
found.write(out)
print([(sample.index, str(sample.status)) for sample in found.failed])
"""


def test_an_engine_is_chosen_or_a_line_says_how_to_get_it(monkeypatch):
    assert ray.choose("ray", pipeline.run, ray_actor.run) is ray_actor.run
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="unknown engine 'spark'; known: local, ray"):
        ray.choose("spark", pipeline.run, ray_actor.run)
    with pytest.raises(InputError, match=r"engine 'ray': needs ray, of the extra ray: pip install 'aigid\[ray\]'"):
        ray.choose("ray", pipeline.run, ray_actor.run)
    assert ray.choose("local", pipeline.run, ray_actor.run) is pipeline.run


def test_the_engines_import_no_ray_until_it_is_wanted():
    code = "import sys, aigid.features.extract, aigid.aligned.pairs; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_pool_fits_the_cluster_or_is_what_the_environment_says(monkeypatch):
    assert ray.pool_from_env({"CPU": 6.0}) == ray.ResourcePool(6, 1, 0)
    assert ray.pool_from_env({"CPU": 16.0, "GPU": 2.0}) == ray.ResourcePool(2, 8, 1)
    monkeypatch.setenv("AIGID_RAY_GPUS", "0.5")
    assert ray.pool_from_env({"CPU": 16.0, "GPU": 2.0}) == ray.ResourcePool(4, 4, 0.5)
    monkeypatch.setenv("AIGID_RAY_ACTORS", "0")
    with pytest.raises(InputError, match="AIGID_RAY_ACTORS='0'"):
        ray.pool_from_env({"CPU": 6.0})


def test_rows_say_which_blocks_lack_them():
    missing = np.random.default_rng(0).random((11, 20)) < 0.2
    missing[:, 7] = False
    blocks = [ExtractionTask("clean", None, None, row) for row in missing]
    rows = ray_actor.missing_rows(
        blocks, [f"{k}.png" for k in range(20)], np.array([f"{k:064}" for k in range(20)], "S64")
    )
    assert 7 not in set(rows["index"])
    bits = np.unpackbits(np.stack([np.frombuffer(item, np.uint8) for item in rows["missing"]]), axis=1)[:, :11]
    np.testing.assert_array_equal(bits, missing[:, rows["index"]].T)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images, one of them broken, and the file that the local engine makes of them."""
    root = tmp_path_factory.mktemp("images")
    table = noise_folder(root, NUM, 40)
    (root / "05.png").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGID_CACHE", str(root / "cache-local"))
        extract.extract(table, root, backbone_settings("tiny_clip"), ["clean", "jpeg65"]).write(root / "local.h5")
    return root


def start(root, out, code=RUN, **variables):
    pytest.importorskip("ray")
    env = os.environ | {"PYTHONPATH": str(ROOT), "AIGID_CACHE": str(out.parent / "cache")} | variables
    command = [sys.executable, "-c", code, str(root), str(out)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_three_killed_workers_change_no_byte(images, tmp_path):
    driver = start(images, tmp_path / "ray.h5", AIGID_RAY_ACTORS="2")
    killed = 0
    while driver.poll() is None and killed < 3:
        shards = len(list((tmp_path / "cache").glob("embeddings/*/[!.]*.safetensors")))
        workers = [item for item in psutil.Process(driver.pid).children(recursive=True) if _is_worker(item)]
        if workers and shards > 2 * killed:
            workers[0].kill()
            killed += 1
        time.sleep(0.02)
    out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, err
    assert killed == 3
    assert out.splitlines()[-1] == "[(5, 'changed')]"
    assert (tmp_path / "ray.h5").read_bytes() == (images / "local.h5").read_bytes()


def _is_worker(process):
    try:
        return "".join(process.cmdline()[:1]).startswith("ray::MapWorker")  # empty where it has just died
    except psutil.Error:
        return False


@pytest.mark.slow
def test_an_address_without_a_cluster_is_one_line(images, tmp_path):
    driver = start(images, tmp_path / "ray.h5", RAY_ADDRESS="127.0.0.1:1")
    _, err = driver.communicate(timeout=300)
    assert "InputError: RAY_ADDRESS=127.0.0.1:1: no cluster there" in err
    assert not (tmp_path / "ray.h5").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aigid": "0.0.1"}, "has aigid .*, this machine 0.0.1"),
        ({"fingerprint": "0" * 64}, "its weights of tiny are not those of this machine"),
        ({"folder": Path("/nosuch")}, r"does not see /nosuch; \$AIGID_CACHE must be a folder that all share"),
    ],
)
def test_a_worker_that_would_compute_something_else_is_refused(tmp_path, change, message):
    backbone = TorchBackbone(backbone_settings("tiny_clip"), torch.device("cpu"))
    entry = row_cache.open_entry({"tower": backbone.fingerprint, "view": "clean", "seed": 0}, {})
    task = ray_actor.RemoteTask.from_task(ExtractionTask("clean", backbone, entry, np.ones(1, bool)))
    aigid = change.pop("aigid", version("aigid"))
    filler = ray_actor.ExtractionActor([task], tmp_path, 0, aigid, 1)
    with pytest.raises(InputError, match=message):
        filler.backbone(dataclasses.replace(task, **change))
    assert (
        ray_actor.ExtractionActor([task], tmp_path, 0, version("aigid"), 1).backbone(task).fingerprint
        == backbone.fingerprint
    )


def test_workers_that_share_a_bucket_need_no_folder_in_common(images, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_ROWS", "memory://of-workers")
    backbone, table = (
        TorchBackbone(backbone_settings("tiny_clip"), torch.device("cpu")),
        manifest.read(images / "m.csv"),
    )
    key = table["sha256"].to_numpy().astype(shards.KEY)
    entry = row_cache.open_entry({"tower": backbone.fingerprint, "view": "clean", "seed": 0}, {})
    block = ExtractionTask("clean", backbone, entry, np.ones(NUM, bool))
    task = dataclasses.replace(
        ray_actor.RemoteTask.from_task(block), folder=tmp_path / "of another machine" / entry.folder.name
    )
    rows = ray_actor.missing_rows([block], table["path"].tolist(), key)
    ray_actor.ExtractionActor([task], images, 0, version("aigid"), 1)(rows)
    assert not entry.shards()
    assert row_cache.CachedEmbeddings(entry, row_cache.KeyIndex(key)).cached_mask.sum() == NUM - 1


@pytest.mark.slow
def test_what_a_worker_refuses_arrives_in_its_own_words(images, tmp_path):
    """A cache that the workers do not see, as on a machine that does not mount it."""
    change = (
        "make = ray_actor.RemoteTask.from_task\n"
        "ray_actor.RemoteTask.from_task = lambda task: dataclasses.replace(make(task), folder=Path('/nosuch'))\n"
    )
    driver = start(
        images, tmp_path / "ray.h5", code=f"import dataclasses\n{RUN}".replace("root, out", f"{change}root, out")
    )
    _, err = driver.communicate(timeout=300)
    assert re.search(r"InputError: worker \S+: does not see /nosuch; \$AIGID_CACHE must be", err.splitlines()[-1])
    assert not list((tmp_path / "cache").glob("embeddings/*/[!.]*.safetensors"))
    assert not (tmp_path / "ray.h5").exists()
