"""The recipe for a team in docs/guides/cache.md: push to S3, clone, pull, and nothing runs; the server is local."""

import re

import pytest

from tests.helpers import workspace
from tests.helpers.workspace import run

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
