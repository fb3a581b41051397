"""Whatever happens to an extraction, what it leaves is complete, and the next one ends with the same bytes."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers.images import noise_folder
from tests.helpers.workspace import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What tests/helpers/kills.py says of 24 images, one of them unreadable."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "images").mkdir()
    (folder / "out").mkdir()
    noise_folder(folder / "images", 24)
    (folder / "images/05.png").write_bytes(b"no image")
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
def complete(report):
    assert report["undisturbed"]["code"] == 1  # done, but for the unreadable image
    assert report["undisturbed"]["digests"].keys() == {"one.h5", "two.h5"}
    return report["undisturbed"]["digests"]


def test_twenty_kills_end_with_the_same_bytes(report, complete):
    killed = report["killed"]
    assert len(killed["shards"]) == 20
    assert len(set(killed["shards"])) > 2  # the kills met different moments
    assert killed["code"] == 1
    assert killed["digests"] == complete
    assert all(digests == complete for digests in killed["finished"])


def test_two_at_once(report, complete):
    assert report["at once"] == {"codes": [1, 1], "digests": complete}


def test_an_interruption_is_one_line_and_keeps_rows(report, complete):
    stopped = report["interrupted"]
    assert stopped["code"] == 1
    assert stopped["error"].startswith("Error: stopped: about ")
    assert stopped["error"].endswith("of 24 images are in the cache; the same call goes on from there\n")
    assert stopped["error"].count("\n") == 1
    assert stopped["left"] == {}
    assert stopped["shards"] > 0
    assert (stopped["again"], stopped["digests"]) == (1, complete)


def test_a_cache_on_another_filesystem(report, complete):
    if not report["elsewhere"]["other"]:
        pytest.skip("no second filesystem")
    assert report["elsewhere"] == {"code": 1, "digests": complete, "other": True}


def test_a_disk_that_fills_up_is_one_line(report):
    if not report["starved"]["mounted"]:
        pytest.skip("may not mount a small disk")
    assert report["starved"]["code"] == 2
    reason = "No space left on device; free some space there"
    assert report["starved"]["error"] in [f"Error: out/{name}.h5: {reason}\n" for name in ("one", "two")]
    assert report["starved"]["left"] in ([], ["one.h5"])  # the first may just fit; nothing is half-written
