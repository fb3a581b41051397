"""Every test has a cache of its own, and all that want it one S3 server, or a full disk."""

from pathlib import Path

import pytest

from aigid.core import files

WEIGHTS = files.cache_folder() / "weights"  # of the user, before a test has a cache of its own
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Keep ``$AIGID_CACHE`` out of the user's home, and rows out of the user's bucket."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AIGID_ROWS", raising=False)


@pytest.fixture
def cache_outside(cache, monkeypatch, tmp_path_factory):
    """Keep ``$AIGID_CACHE`` out of ``tmp_path``, too, where that folder is the dataset."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def users_weights(cache, tmp_path):
    """Let a test's cache have the weights that the user's has, so that none is downloaded again."""
    if WEIGHTS.is_dir():
        (tmp_path / "cache").mkdir()
        (tmp_path / "cache/weights").symlink_to(WEIGHTS)


@pytest.fixture
def full_disk(monkeypatch):
    """Let all that is written atomically go to /dev/full, where each write fails; none must be tried that would not."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")

    def create(near, suffix):
        path = near.with_name(f".{near.name}-full{suffix}")
        path.symlink_to("/dev/full")
        return path

    monkeypatch.setattr(files, "create_temporary", create)


@pytest.fixture(scope="session")
def _s3_server():
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(_s3_server, monkeypatch):
    """A client of an S3 server on this machine, which the environment names."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": _s3_server}).items():
        monkeypatch.setenv(name, value)
    return boto3.client("s3")


def pytest_collection_modifyitems(items):
    """Mark what lies in tests/integration; the longest files first, so that none is waited for at the end."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker("integration")
    longest = {"test_cifake_results.py", "test_docs_commands.py", "test_repro.py", "test_kills.py"}
    items.sort(key=lambda item: item.path.name not in longest)
