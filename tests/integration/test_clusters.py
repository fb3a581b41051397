"""The examples for clusters: independent tasks fill the cache, and the file is the same; the job runs what there is."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from aigid.cli.main import main
from benchmarks.cluster import Cluster, worker_of
from benchmarks.object_store import FAULTS
from tests.helpers.images import noise_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def images(tmp_path):
    noise_folder(tmp_path, 20)
    return tmp_path


def extract(images, *more):
    return CliRunner().invoke(
        main, ["extract", str(images / "m.csv"), "--root", str(images), "--backbone", "tiny_clip", *map(str, more)]
    )


def test_parts_fill_the_cache_and_the_file_is_the_same(images, monkeypatch):
    for part in ("1/3", "3/3", "2/3"):
        done = extract(images, "--part", part)
        assert done.exit_code == 0, done.stderr
    assert not list(images.glob("*.h5"))
    info = CliRunner().invoke(main, ["cache", "info", "--json"])
    assert '"rows": 20' in info.stdout
    extract(images, "--out", images / "parts.h5")
    monkeypatch.setenv("AIGID_CACHE", str(images / "other"))
    extract(images, "--out", images / "whole.h5")
    assert (images / "parts.h5").read_bytes() == (images / "whole.h5").read_bytes()


@pytest.mark.slow
def test_a_bucket_that_is_slow_and_breaks_off_and_a_worker_that_is_killed(tmp_path):
    """The benchmark's own run, smaller: no request is lost and no byte differs."""
    pytest.importorskip("s3fs")
    cluster = Cluster(tmp_path / "images", 600)
    run = cluster.run(3, 0.005, 0.05, lambda store: any(worker_of(request, 3) == 0 for request in list(store.requests)))
    assert run.digest == cluster.digest
    assert run.killed
    assert "Killed" in run.errors
    assert all(run.store.counts()[kind] > 0 for kind in FAULTS)
    assert not run.store.unanswered()
    assert 1 < run.requests_an_image <= 4 / 3  # the killed worker's part is read again


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b"])
def test_a_part_that_is_none(images, part):
    done = extract(images, "--part", part)
    assert done.exit_code == 2
    assert f"--part {part!r}: want K/N" in done.stderr


def test_a_file_or_a_part(images):
    assert "name the file, or the part" in extract(images).stderr
    assert extract(images, "--part", "1/2", "--out", images / "e.h5").exit_code == 2


@pytest.mark.slow
def test_a_slurm_array_by_a_scheduler_that_starts_all_tasks_at_once(images):
    (images / "bin").mkdir()
    (images / "bin/srun").write_text('#!/bin/sh\nexec "$@"\n')
    (images / "bin/srun").chmod(0o755)
    path = f"{images / 'bin'}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "SLURM_ARRAY_TASK_COUNT": "3", "AIGID_CACHE": str(images / "cache")}
    command = [ROOT / "examples/slurm.sh", images / "m.csv", images, "tiny_clip"]
    tasks = [subprocess.Popen(command, env=env | {"SLURM_ARRAY_TASK_ID": str(number)}) for number in (1, 2, 3)]
    assert [task.wait() for task in tasks] == [0, 0, 0]
    info = CliRunner().invoke(main, ["cache", "info", "--json"], env={"AIGID_CACHE": str(images / "cache")})
    assert '"rows": 20' in info.stdout
    refused = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert "AIGID_CACHE: name a folder that all nodes share" in refused.stderr


def test_the_ray_job_runs_a_command_that_there_is(images):
    job = yaml.safe_load((ROOT / "examples/kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    program, command, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert program == "aigid"
    options = {option for parameter in main.commands[command].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options
    for group in (job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        mounted = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        assert all(
            {"name": "AIGID_CACHE", "value": "/shared/cache"} in container["env"] for container in spec["containers"]
        )
