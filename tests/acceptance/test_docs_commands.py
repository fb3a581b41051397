"""Every command that README and docs/ show is run, on small stand-ins of the files it names, or has a reason not to be.

Published backbones are replaced by the tiny ones, which are built by the same loaders.
"""

import re
import shlex
import shutil
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aigid.core import tables
from tests.helpers.cli import aigid
from tests.helpers.workspace import run

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
STANDS_FOR = {
    "clip_vit_b16_int8": "tiny_clip",
    "clip_vit_l14": "tiny_clip",
    "siglip_so400m_14_384": "tiny_siglip",
    "IMAGES": "photos",
    "models/univfd": "models/probe",
}
NOT_RUN = {  # what a line starts with: why
    "make ": "CI's own commands",
    ". .venv": "the shell's own",
    "pip install": "tests/integration/test_light_install.py",
    "dvc ": "tests/integration/test_repro.py and tests/integration/test_sharing.py",
    "for m in": "the shell's own loop over dvc exp run",
    "git tag": "tests/integration/test_sharing.py",
    "git clone": "tests/integration/test_sharing.py",
    "export ": "names a folder or a bucket that a clone does not hold",
    "aigid align photos.csv --root photos --domain vae": "fetches Stable Diffusion's autoencoder",
    "aigid align photos.csv --root photos --domain gan": "wants a published super-resolution network",
    "aigid fetch": "downloads 2,328 images; tests/unit/data/test_fetch.py",
    "hf download": "gigabytes from the hub",
    "curl ": "gigabytes, or wants a service; tests/integration/test_serve.py",
    "aigid serve": "answers until it is stopped; tests/integration/test_serve.py",
    "aigid export": "wants the package's encoder; tests/unit/prediction/test_export.py",
    "aigid predict photo.jpg --model photos.onnx": "follows the line before",
    "printf ": "the shell's own",
    "unzip ": "what curl fetched",
    "aigid index ntire_test": "wants the archives; tests/unit/data/test_layouts_tables.py",
    "aigid index community_forensics": "wants the tables; tests/unit/data/test_layouts_tables.py",
    "aigid evaluate scores.csv --protocol ntire_test": "wants the scores of these images; tests/unit/evaluation",
    "aigid card": "wants the results of the preset photos; tests/unit/report/test_report.py",
    "aigid weights fetch": "wants a package index; tests/unit/features/test_weights.py",
    "aigid audit aligned-gan": "follows the line before",
    "aigid import featdistill": "wants the published checkpoints; tests of the importer",
    "aigid import linear --weights HEAD.pth": "wants a published head; tests/unit/importers/test_linear.py",
    "python -m benchmarks.": "minutes to hours",
    "aigid index s3://": "wants a bucket; tests/integration/test_remote.py",
    "AIGID_": "wants a bucket; tests/integration/test_remote.py",
    "aigid extract photos.csv --root s3://": "wants a bucket; tests/integration/test_rows_in_a_bucket.py",
}


def lines():
    """Return the commands of all shell blocks, comments cut off, in order, each once."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    commands = [re.sub(r"\s+#.*", "", line) for block in blocks for line in block.splitlines() if line.strip()]
    return list(dict.fromkeys(commands))


def test_each_line_is_run_or_has_a_reason():
    for line in lines():
        assert line.startswith(("aigid ", *NOT_RUN)), line
    for start in NOT_RUN:
        assert any(line.startswith(start) for line in lines()), f"no page shows {start!r} any longer"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A folder like a clone after `dvc repro`, with the files that the commands name."""
    folder, rng = tmp_path_factory.mktemp("docs"), np.random.default_rng(0)
    (folder / "data").mkdir()
    (folder / "data/models").symlink_to(ROOT / "data/models")
    shutil.copy(ROOT / "params.yaml", folder)
    for number in range(40):
        path = folder / "photos" / ("train", "test")[number // 2 % 2] / ("0_real", "1_fake")[number % 2]
        path.mkdir(parents=True, exist_ok=True)
        grain = rng.normal(0, 25 if number % 2 else 8, (160, 160, 3)) + rng.integers(60, 200, 3)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(path / f"{number:02}.png")
    shutil.copy(folder / "photos/test/0_real/02.png", folder / "photo.jpg")
    for split, source in (("val", "train"), ("test", "test")):
        shutil.copytree(folder / "photos" / source, folder / "known" / split)
    photos = sorted((folder / "photos").rglob("*.png"), key=lambda path: path.name)
    table = pd.DataFrame({"path": [str(path.relative_to(folder / "photos")) for path in photos], "view": "clean"})
    number = np.arange(len(table))
    table["label"], table["split"] = number % 2, np.where(number // 2 % 2, "test", "val")
    table["extra_date"] = np.where(number < 20, "2026-05-30", "2026-06-01")
    table["generator"] = np.where(number % 2, np.char.add("g", (number // 4 % 8).astype(str)), "real")
    for name in ("scores.csv", "ours.csv", "others.csv", "theirs.parquet", "theirs.csv"):
        score = np.clip(0.3 + 0.4 * table["label"] + 0.2 * rng.normal(size=len(table)), 0, 1)
        made = table.assign(score=score) if name != "theirs.csv" else table.drop(columns="view").assign(prob_fake=score)
        tables.write(made, folder / name)
    return folder


@pytest.mark.acceptance
def test_the_commands_run(workspace, users_weights):
    failed = []
    for line in lines():
        if line.startswith(tuple(NOT_RUN)):
            continue
        command = reduce(lambda text, pair: text.replace(*pair), STANDS_FOR.items(), line)
        if "--engine ray" in command:  # keeps to a process of its own
            run(*shlex.split(command), cwd=workspace)
            continue
        done = aigid(*shlex.split(command)[1:], cwd=workspace)
        if done.exit_code:
            failed.append(f"{command}\n{done.exit_code}: {done.exception!r} {done.stderr[-600:]}")
    assert not failed, "\n\n".join(failed)
