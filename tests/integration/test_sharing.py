"""The recipe for a team in docs/guides/cache.md: push to S3, clone, pull, and nothing runs; the server is local."""

import re
import shutil

import pytest
import yaml

from tests.helpers import workspace
from tests.helpers.workspace import ROOT, run

STAGE = "demo@demo"


@pytest.mark.slow
def test_what_one_has_computed_another_pulls(s3, tmp_path):
    pytest.importorskip("dvc_s3")
    s3.create_bucket(Bucket="team")
    folder = workspace.copy(tmp_path / "aigid")
    workspace.small(folder)
    run("dvc", "remote", "add", "--default", "team", "s3://team/aigid", cwd=folder)
    run("dvc", "remote", "modify", "team", "endpointurl", s3.meta.endpoint_url, cwd=folder)
    assert f"Running stage '{STAGE}'" in run("dvc", "repro", STAGE, cwd=folder)
    run("dvc", "push", "--with-deps", STAGE, cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--message", "computed", cwd=folder)
    again = tmp_path / "again"
    run("git", "clone", "--quiet", folder, again, cwd=tmp_path)
    run("dvc", "pull", "--with-deps", STAGE, cwd=again)
    images = sorted(path.relative_to(folder) for path in (folder / "data/images").rglob("*.png"))
    assert images
    assert images == sorted(path.relative_to(again) for path in (again / "data/images").rglob("*.png"))
    assert not re.search("Running stage", run("dvc", "repro", STAGE, cwd=again))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["probe", "photos"])
def test_a_bundle_is_had_by_its_name(tmp_path, name):
    """One that a stage made, from DVC's cache, and one that lies in Git, by the artifacts of this project."""
    folder, sections = tmp_path / "project", yaml.safe_load((ROOT / "dvc.yaml").read_text())
    path = sections["artifacts"][name]["path"]
    shutil.copytree(ROOT / "aigid/prediction/bundles/photos", folder / "aigid/prediction/bundles/photos")
    for command in ("git init", "dvc init", "git config user.name tests", "git config user.email tests@example.org"):
        run(*command.split(), cwd=folder)
    made = {"train": {"cmd": f"mkdir -p data/models && cp -r aigid/prediction/bundles/photos {path}", "outs": [path]}}
    stages = made if name == "probe" else {}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"artifacts": sections["artifacts"], "stages": stages}))
    for command in ("dvc repro --quiet", "git add --all", "git commit --quiet --message bundle"):
        run(*command.split(), cwd=folder)
    run("git", "tag", "--annotate", f"{name}@v0.2.0", "--message", "a version", cwd=folder)  # as `gto register` does
    run("dvc", "artifacts", "get", folder, name, "--out", "bundle", cwd=tmp_path)
    files = {file.name: file.read_bytes() for file in (folder / path).rglob("*") if file.is_file()}
    assert files == {file.name: file.read_bytes() for file in (tmp_path / "bundle").rglob("*") if file.is_file()}
    assert len(files) > 3
