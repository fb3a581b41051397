"""README's recipe for a team: push to S3, clone, pull, and nothing runs. Against a server on this machine."""

import re
from functools import partial

import pytest

from tests import workspace

STAGE = "demo@demo"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
run = partial(workspace.run, **KEYS)


@pytest.fixture
def bucket():
    """The address of an S3 server with a bucket ``team``."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    pytest.importorskip("dvc_s3")
    boto3 = pytest.importorskip("boto3")
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="team")
    yield address
    server.stop()


@pytest.mark.slow
def test_what_one_has_computed_another_pulls(bucket, tmp_path):
    folder = workspace.copy(tmp_path / "aigid")
    workspace.small(folder)
    run("dvc", "remote", "add", "--default", "team", "s3://team/aigid", cwd=folder)
    run("dvc", "remote", "modify", "team", "endpointurl", bucket, cwd=folder)
    assert f"Running stage '{STAGE}'" in run("dvc", "repro", STAGE, cwd=folder)
    run("dvc", "push", STAGE, cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--message", "computed", cwd=folder)
    again = tmp_path / "again"
    run("git", "clone", "--quiet", folder, again, cwd=tmp_path)
    run("dvc", "pull", STAGE, cwd=again)
    images = sorted(path.relative_to(folder) for path in (folder / "data/images").rglob("*.png"))
    assert images
    assert images == sorted(path.relative_to(again) for path in (again / "data/images").rglob("*.png"))
    assert not re.search("Running stage", run("dvc", "repro", STAGE, cwd=again))
