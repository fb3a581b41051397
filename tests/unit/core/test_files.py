"""Files appear whole or not at all; the environment names the machine."""

import hashlib
import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors import SafetensorError

from aigid.core import files
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError, full_disk_errors

Usage = namedtuple("Usage", "total used free")


def test_a_failed_write_changes_nothing(tmp_path):
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"x": 1})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"x": float("nan")})
    with pytest.raises(FileNotFoundError), files.atomic_write(path) as part:
        part.rename(tmp_path / "stolen")
    (tmp_path / "stolen").unlink()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


WRITERS = {
    "text": lambda part: part.write_text("a" * 99),
    "image": lambda part: Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(part, "PNG"),
    "safetensors": lambda part: safetensors_on_a_full_disk(),
}


def safetensors_on_a_full_disk():
    """What its `save_file` raises on a small tmpfs."""
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line_with_the_folder_and_what_to_do(kind, tmp_path):
    """Of a library's own error as of Python's, which names no file."""

    def write():
        with files.atomic_write(tmp_path / "out/a") as part:
            WRITERS[kind](part)

    result = CliRunner().invoke(ErrorHandlingCommand("x", callback=write))
    assert result.exit_code == 2
    line = f"Error: [Errno 28] No space left on device: '{tmp_path}/out'; free some space there\n"
    assert result.stderr == line
    assert list((tmp_path / "out").iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path):
    for error in (ValueError("a"), PermissionError(13, "b"), InputError("x: No space left on device")):
        with pytest.raises(type(error)) as caught, full_disk_errors(tmp_path):
            raise error
        assert caught.value is error


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_dataset_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIGID_DATA", raising=False)
    with pytest.raises(InputError, match=r"no folder data/images/demo; set AIGID_DATA"):
        files.dataset_root("demo")
    (tmp_path / "data/images/demo").mkdir(parents=True)
    assert files.dataset_root("demo").samefile(tmp_path / "data/images/demo")
    monkeypatch.setenv("AIGID_DATA", str(tmp_path / "sets"))
    (tmp_path / "sets/cifake").mkdir(parents=True)
    assert files.dataset_root("cifake") == tmp_path / "sets/cifake"
    assert files.dataset_root("demo").samefile(tmp_path / "data/images/demo")
    (tmp_path / "data/images/cifake").mkdir()
    assert [files.is_pipeline_output(name) for name in ("demo", "cifake", "ufd")] == [True, False, False]
    with pytest.raises(InputError, match=r"no folder .*sets/ufd or data/images/ufd"):
        files.dataset_root("ufd")


def test_machine_settings(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "3")
    monkeypatch.setenv("AIGID_BATCH", "many")
    assert files.num_workers() == 3
    with pytest.raises(InputError, match="AIGID_BATCH='many'"):
        files.batch_size()
    for text in ("0", "-1", "", "²"):
        monkeypatch.setenv("AIGID_PROCESSES", text)
        with pytest.raises(InputError, match=f"AIGID_PROCESSES='{text}': want a whole number of at least 1"):
            files.num_processes()
    assert files.choose_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="AIGID_DEVICE='tpu9'"):
        files.choose_device("tpu9")


def test_what_killed_writers_left_is_cleared_away_when_old_and_nothing_else(tmp_path):
    stale, young = ".a.part-0123abcd.h5", ".a.part-0123abce.h5"
    names = (stale, ".b.part-0123abcd.h5", ".a.part-0123abcd.csv", ".a-2025.h5", ".a.part-final.h5", "a-x.h5")
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / young).write_text("")
    files.write_text(tmp_path / "a.h5", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"a.h5", young, *names} - {stale})


def test_needs_on_one_disk_add_up(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 3_000_000))
    files.check_free_space({tmp_path / "a/b/c": 1_500_000, tmp_path: 1_500_000})
    with pytest.raises(InputError) as caught:
        files.check_free_space({tmp_path / "a": 1_500_001, tmp_path / "b": 1_500_000})
    assert str(caught.value) == f"{tmp_path}/a and {tmp_path}/b: 3.0 MB are needed there, 3.0 MB are free"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second filesystem")
def test_each_disk_counts_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 10 if str(path) == "/dev/shm" else 10**12))
    files.check_free_space({tmp_path: 10**11, Path("/dev/shm/x"): 10})
    with pytest.raises(InputError, match=r"^/dev/shm/x: 11 bytes are needed there, 10 bytes are free"):
        files.check_free_space({tmp_path: 10**11, Path("/dev/shm/x"): 11})
