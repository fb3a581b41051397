"""The pipeline, small, in a Git repository of its own: what runs, what does not, and the same bytes again."""

import hashlib
import os
import re
import subprocess

import pytest

from tests.helpers.workspace import BIN, copy, run, small

TARGETS = ("evaluate@probe", "evaluate@gendet")
SHARED = {"check_names", "demo@demo", "describe@demo", "extract@tiny_both-demo"}
GENDET = {"train@gendet", "score@gendet", "evaluate@gendet"}
PROBE = {"train@probe", "score@probe", "evaluate@probe"}
ROTATIONS = 2


def stages_run(output):
    return set(re.findall(r"Running stage '([^']+)'", output))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """This project's files with a small demo, committed, and two detectors run once."""
    folder = copy(tmp_path_factory.mktemp("clone") / "aigid")
    small(folder, ROTATIONS)
    first = run("dvc", "repro", *TARGETS, cwd=folder)
    run("git", "add", "--all", cwd=folder)
    run("git", "commit", "--quiet", "--message", "first run", cwd=folder)
    return folder, first


def restore(folder):
    """What was committed, after an experiment."""
    run("git", "checkout", "--quiet", ".", cwd=folder)
    run("dvc", "checkout", *TARGETS, "--with-deps", cwd=folder)


def digests(folder):
    files = [*folder.glob("data/**/*"), *folder.glob("results/**/*")]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()
    }


def test_one_command_runs_everything_that_is_asked_for_and_a_second_nothing(workspace):
    folder, first = workspace
    assert stages_run(first) == SHARED | PROBE | GENDET | {"train_gendet_teacher"}
    assert stages_run(run("dvc", "repro", *TARGETS, cwd=folder)) == set()


@pytest.mark.slow
def test_from_scratch_every_byte_is_the_same(workspace, tmp_path):
    folder, _ = workspace
    before = digests(folder)
    assert len(before) > 20
    again = tmp_path / "again"
    run("git", "clone", "--quiet", folder, again, cwd=tmp_path)
    assert len(stages_run(run("dvc", "repro", *TARGETS, cwd=again))) > 5
    assert digests(again) == before


def test_one_parameter_runs_exactly_what_follows_it(workspace):
    folder, _ = workspace
    output = run("dvc", "exp", "run", "--set-param", "probe.c=0.5", *TARGETS, cwd=folder)
    assert stages_run(output) == PROBE
    restore(folder)
    shown = run("dvc", "metrics", "show", cwd=folder)
    assert "results/metrics/probe/demo.json" in shown.replace("\\", "/")
    assert "auroc" in shown


@pytest.mark.slow
def test_a_margin_trains_no_teacher_and_extracts_nothing(workspace):
    folder, _ = workspace
    margin = ("dvc", "exp", "run", "--set-param", "gendet.margin=0.1", *TARGETS)
    assert stages_run(run(*margin, cwd=folder)) == GENDET
    assert stages_run(run(*margin, cwd=folder)) == set()
    log = (folder / "results/training/gendet/rotations.csv").read_text().splitlines()
    assert len(log) == 2 + ROTATIONS  # the header, and the untrained student
    restore(folder)


def test_a_bad_parameter_changes_nothing(workspace):
    folder, _ = workspace
    before = digests(folder)
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["dvc", "exp", "run", "--set-param", "probe.c=-1", *TARGETS],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert re.search(r"probe\.c.*greater than 0.*-1", done.stdout + done.stderr)
    restore(folder)
    assert digests(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        ("repro", "--force", "--single-item", "train@probe"),
        ("exp", "run", "--temp", "--set-param", "probe.c=0.25", "train@probe"),
    ],
    ids=["repro", "exp-run-temp"],
)
def test_stages_run_by_the_environment_that_is_not_activated(workspace, command):
    """`.venv/bin/dvc` alone, where the first Python of PATH has none of the libraries."""
    folder, _ = workspace
    (folder / ".venv").unlink(missing_ok=True)
    (folder / ".venv").symlink_to(BIN.parent)
    env = {"PATH": "/usr/bin:/bin", "HOME": os.environ["HOME"]}
    call = [folder / ".venv/bin/dvc", *command]
    done = subprocess.run(call, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages_run(done.stdout) == {"train@probe"}
    restore(folder)
