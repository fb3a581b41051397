"""The wheel alone in a clean environment: its size, what is not in it, a verdict without a network."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from aigid.features.weights import WHEEL_FILES

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
WEIGHTS = WHEEL_FILES["clip_vit_b16_int8"].path  # of the user's cache; a test has its own
MAX_BYTES = 300_000_000  # of site-packages, bytecode included
ABSENT = ("torch", "dvc", "transformers", "scipy", "sklearn", "h5py", "pyarrow", "matplotlib", "onnx")


def uv(*arguments: str | Path) -> None:
    subprocess.run([UV, *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if not UV.exists():
        pytest.skip("wants uv beside python, where `make env` puts it")
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "aigid", source / "aigid", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", source / "dist", source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A virtual environment of the wheel and what it requires, in the versions of the lock."""
    folder = tmp_path_factory.mktemp("light") / "venv"
    uv("venv", "--python", sys.executable, folder)
    python = folder / "bin/python"
    install = ["pip", "install", "--compile-bytecode", "--python", python, "--constraints", ROOT / "requirements.lock"]
    try:
        uv(*install, "--offline", wheel)
    except subprocess.CalledProcessError:
        try:
            uv(*install, wheel)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"neither uv's cache nor a package index has what it requires: {error.stderr[-300:]}")
    return folder


@pytest.fixture
def aigid(environment, tmp_path):
    """Run `aigid` of the environment in ``tmp_path``, whose cache holds the weights; nothing can be downloaded."""
    if not WEIGHTS.is_file():
        pytest.skip("wants the weights that `make env` fetches")
    (tmp_path / "cache/weights").mkdir(parents=True)
    (tmp_path / "cache/weights" / WEIGHTS.name).symlink_to(WEIGHTS)
    env = {"AIGID_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path), "PIP_NO_INDEX": "1", "PATH": os.defpath}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [environment / "bin/aigid", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return run


def test_the_wheel_holds_all_files_of_the_package(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "aigid").rglob("*") if path.is_file()}
    assert not {path for path in here if "__pycache__" not in path} - inside


def test_it_is_small_and_has_nothing_of_training(environment):
    packages = next(environment.glob("lib/python*/site-packages"))
    assert not [name for name in ABSENT if (packages / name).exists()]
    sizes = {path: path.lstat().st_size for path in packages.rglob("*") if not path.is_dir()}
    assert sum(sizes.values()) <= MAX_BYTES


def test_a_verdict_without_a_network(aigid, tmp_path):
    Image.fromarray(data.astronaut()[:384, :384]).save(tmp_path / "photo.jpg", quality=92)
    for options in ([], ["--stable"]):
        done = aigid("predict", "photo.jpg", "--json", *options)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["verdict"] in ("real", "generated", "uncertain")


def test_what_needs_the_extra_train_is_one_line(aigid, tmp_path):
    (tmp_path / "m.csv").write_text("path,label,generator,split\na.png,0,real,train\n")
    done = aigid("extract", "m.csv", "--root", ".", "--backbone", "tiny_clip", "--out", "e.h5")
    assert done.returncode == 2
    assert done.stderr == "Error: aigid extract: needs torch, of the extra train: pip install 'aigid[train]'\n"
