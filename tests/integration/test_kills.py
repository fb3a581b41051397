"""Whatever happens to an extraction, what it leaves is whole, and the next one ends with the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import manifest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What tests/helpers/kills.py says of 24 images, one of them unreadable."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "images").mkdir()
    (folder / "out").mkdir()
    draw = np.random.default_rng(0)
    for n in range(24):
        Image.fromarray(draw.integers(0, 256, (40, 50, 3)).astype(np.uint8)).save(folder / f"images/{n:02}.png")
    (folder / "images/05.png").write_bytes(b"no image")
    table = pd.DataFrame({"path": [f"{n:02}.png" for n in range(24)], "label": 0, "generator": "real", "split": "test"})
    manifest.write(manifest.validate(table, "table"), folder / "m.csv")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/helpers/kills.py", folder],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def whole(report):
    assert report["undisturbed"]["code"] == 1  # done, but for the unreadable image
    assert report["undisturbed"]["digests"].keys() == {"one.h5", "two.h5"}
    return report["undisturbed"]["digests"]


def test_twenty_kills_end_with_the_same_bytes(report, whole):
    killed = report["killed"]
    assert len(killed["shards"]) == 20
    assert len(set(killed["shards"])) > 2  # the kills met different moments
    assert killed["code"] == 1
    assert killed["digests"] == whole
    assert all(digests == whole for digests in killed["finished"])


def test_two_at_once(report, whole):
    assert report["at once"] == {"codes": [1, 1], "digests": whole}


def test_an_interruption_is_one_line_and_keeps_rows(report, whole):
    stopped = report["interrupted"]
    assert stopped["code"] == 1
    assert stopped["told"].startswith("Error: stopped: about ")
    assert stopped["told"].endswith("of 24 images are in the cache; the same call goes on from there\n")
    assert stopped["told"].count("\n") == 1
    assert stopped["left"] == {}
    assert stopped["shards"] > 0
    assert (stopped["again"], stopped["digests"]) == (1, whole)


def test_a_cache_on_another_filesystem(report, whole):
    if not report["elsewhere"]["other"]:
        pytest.skip("no second filesystem")
    assert report["elsewhere"] == {"code": 1, "digests": whole, "other": True}


def test_a_disk_that_fills_up_is_one_line(report):
    if not report["starved"]["mounted"]:
        pytest.skip("may not mount a small disk")
    assert report["starved"]["code"] == 2
    assert report["starved"]["told"] in [f"Error: out/{name}.h5: No space left on device\n" for name in ("one", "two")]
    assert report["starved"]["left"] in ([], ["one.h5"])  # the first may just fit; nothing is half-written
