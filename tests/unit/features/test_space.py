"""What is needed against what is free, disk by disk."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from aigid.core import files
from aigid.core.errors import InputError

Usage = namedtuple("Usage", "total used free")


def test_needs_on_one_disk_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 3_000_000))
    files.check_free_space({tmp_path / "a/b/c": 1_500_000, tmp_path: 1_500_000})
    with pytest.raises(InputError) as caught:
        files.check_free_space({tmp_path / "a": 1_500_001, tmp_path / "b": 1_500_000})
    assert str(caught.value) == f"{tmp_path}/a and {tmp_path}/b: 3.0 MB are needed there, 3.0 MB are free"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second filesystem")
def test_disks_are_asked_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10 if str(path) == "/dev/shm" else 10**12))
    files.check_free_space({tmp_path: 10**11, Path("/dev/shm/x"): 10})
    with pytest.raises(InputError, match=r"^/dev/shm/x: 11 bytes are needed there, 10 bytes are free"):
        files.check_free_space({tmp_path: 10**11, Path("/dev/shm/x"): 11})
