"""The examples of adding a backbone, a dataset and a detector in docs/extend: small diffs that apply, and then work."""

import sys

import h5py
import pandas as pd
import pytest

from tests.helpers.images import grain_folder
from tests.helpers.workspace import ROOT, copy, run

EXAMPLES = sorted((ROOT / "examples").glob("*.diff"))


def aigid(*arguments, cwd):
    return run(sys.executable, "-c", "from aigid.cli.main import main; main()", *arguments, cwd=cwd)


@pytest.fixture
def patched(request, tmp_path):
    """A copy of the project with one example applied."""
    folder = copy(tmp_path / "aigid")
    run("git", "apply", ROOT / f"examples/{request.param}.diff", cwd=folder)
    return folder


def images(folder):
    """Smooth ones in ``camera``, grainy ones in ``grain``."""
    rows = grain_folder(folder, 24, lambda number: f"{('camera', 'grain')[number % 2]}/{number:02}.png")
    rows.to_csv(folder / "m.csv", index=False)
    return folder


@pytest.mark.parametrize("diff", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_adds_at_most_fifty_lines(diff):
    added = [line for line in diff.read_text().splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert 0 < len(added) <= 50
    assert any(f"examples/{diff.name}" in page.read_text() for page in ROOT.glob("docs/extend/*.md"))
    run("git", "apply", "--check", diff, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("patched", ["backbone"], indirect=True)
def test_the_added_backbone_embeds(patched, tmp_path):
    root = images(tmp_path / "images")
    aigid(
        *("extract", root / "m.csv", "--root", root, "--backbone", "tiny_coarse", "--out", tmp_path / "e.h5"),
        cwd=patched,
    )
    with h5py.File(tmp_path / "e.h5") as file:
        assert file["views/clean"].shape == (24, 96)
    stages = run("dvc", "stage", "list", "--name-only", cwd=patched).split()
    assert {"extract@tiny_coarse-demo", "extract@tiny_coarse-demo6"} <= set(stages)


@pytest.mark.slow
@pytest.mark.parametrize("patched", ["dataset"], indirect=True)
def test_the_added_layout_indexes(patched, tmp_path):
    root = images(tmp_path / "images")
    aigid("index", root, "--layout", "folders", "--out", tmp_path / "found.csv", cwd=patched)
    assert pd.read_csv(tmp_path / "found.csv")["generator"].value_counts().to_dict() == {"real": 12, "grain": 12}


@pytest.mark.slow
@pytest.mark.parametrize("patched", ["detector"], indirect=True)
def test_the_added_detector_is_trained_scored_and_judged(patched, tmp_path):
    root = images(tmp_path / "images")
    aigid("index", root, "--layout", "csv", "--out", tmp_path / "demo.csv", cwd=patched)
    embeddings = tmp_path / "embeddings/demo.h5"
    command = ("extract", tmp_path / "demo.csv", "--root", root, "--backbone", "tiny_clip", "--out", embeddings)
    aigid(*command, cwd=patched)
    (patched / "params.yaml").write_text(
        (patched / "params.yaml").read_text().replace("datasets:\n  - demo\n  - demo6\n", "datasets:\n  - demo\n")
    )
    stage = (sys.executable, "-m")
    run(
        *(*stage, "stages.train", "--detector", "centroid", "--manifest", tmp_path / "demo.csv"),
        *("--input", embeddings, "--out", tmp_path / "models/centroid"),
        cwd=patched,
    )
    run(
        *(*stage, "stages.score", "--model", tmp_path / "models/centroid", "--manifests", tmp_path),
        *("--input", tmp_path / "embeddings", "--out", tmp_path / "scores"),
        cwd=patched,
    )
    judged = aigid("evaluate", tmp_path / "scores/demo.csv", "--json", cwd=patched)
    assert '"auroc": 1.0' in judged
    stages = run("dvc", "stage", "list", "--name-only", cwd=patched).split()
    assert {"train@centroid", "score@centroid", "evaluate@centroid"} <= set(stages)
