"""A copy of this project in a Git repository of its own, for tests that run commands in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from aigid.cli import preset

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command, cwd, **variables):
    """What a command that must succeed prints."""
    env = os.environ | variables | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copy(folder):
    """The files that the pipeline needs, in a new repository with an identity; nothing is committed."""
    for name in ("aigid", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        "dvc.yaml",
        "params.yaml",
        ".dvcignore",
        ".gitignore",
        ".dvc/config",
        ".dvc/.gitignore",
        *(f".dvc/plots/{name}by_detector.json" for name in ("", "bars_", "confusion_")),
        "data/weights/README.md",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, folder / name)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "config", "user.name", "aigid tests", cwd=folder)
    run("git", "config", "user.email", "tests@example.org", cwd=folder)
    return folder


def small(folder, rotations=2):
    """One small dataset and short trainings of the preset `tiny` as a copy's parameters."""
    sections = yaml.safe_load(preset.text("tiny"))
    sections["datasets"] = ["demo"]
    few = {"train": ["chelsea", "coins"], "val": ["grace_hopper"], "test": ["coffee"]}
    sections["demo"] = {"demo": sections["demo"]["demo"] | few | {"steps": 2, "tiles_per_photograph": 24, "width": 8}}
    sections["views"] = ["clean"]
    sections["gendet"] |= {"num_rotations": rotations, "student_init": "random"}
    sections["gendet"]["teacher"] |= {"epochs": 1}
    (folder / "params.yaml").write_text(yaml.safe_dump(sections, sort_keys=False))
