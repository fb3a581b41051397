"""The pipeline on a sixteenth of CIFAKE, as far as the probes: `aigid preset cifake`, `dvc repro`, beside images."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = ROOT.parent / "shared/data/cifake.tar.xz"
BIN = Path(sys.executable).parent


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"no {ARCHIVE.name} in ../shared/data")
def test_cifake_as_it_stands(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        members = [member for member in archive if member.isfile()]
        archive.extractall(tmp_path / "data", members[::16], filter="data")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", clone], check=True)
    env = os.environ | {"AIGID_DATA": str(tmp_path / "data"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    subprocess.run([BIN / "aigid", "preset", "cifake"], cwd=clone, env=env, check=True)
    subprocess.run([BIN / "dvc", "repro", "evaluate@probe", "evaluate@knn"], cwd=clone, env=env, check=True)
    metrics = json.loads((clone / "results/metrics/probe/cifake.json").read_text())
    print(json.dumps(metrics, indent=2))
    assert metrics["num_real"] + metrics["num_fake"] == 1_000
    assert metrics["auroc"] >= 0.82
    shutil.rmtree(tmp_path / "data")
