"""AIGID_PROCESSES: a stage starts itself again as several processes, which fail as one."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from aigid.core import manifest as manifests
from aigid.core.errors import InputError
from aigid.training.launch import launch
from aigid.training.task import TrainConfig

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
import sys
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError
import click, torch
from aigid.training import distributed
from aigid.training.launch import launch
from aigid.training.task import TrainConfig

@click.command(cls=ErrorHandlingCommand)
@click.option("--fail", is_flag=True)
def main(fail):
    launch(TrainConfig("toy", 0, 4, 4, 1))
    with distributed.process_group() as device:
        total = torch.ones(1)
        distributed.all_reduce_sum([total])
        if distributed.rank() == 0:
            print(int(total), device, torch.get_num_threads())
        if fail and distributed.rank() == 1:
            raise InputError("b.png: truncated")
        distributed.barrier()

if __name__ == "__main__":
    main()
"""


def run(folder, *arguments, **variables):
    (folder / "toy_stage.py").write_text(STAGE)
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "AIGID_DEVICE": "cpu", "AIGID_WORKERS": "4"}
    environment = {name: value for name, value in environment.items() if name != "OMP_NUM_THREADS"} | variables
    call = [sys.executable, "-m", "toy_stage", *arguments]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.slow
def test_two_processes_share_a_stage_and_the_cores(tmp_path):
    done = run(tmp_path, AIGID_PROCESSES="2")
    assert (done.returncode, done.stdout) == (0, "2 cpu 2\n"), done.stderr


@pytest.mark.slow
def test_a_fault_of_one_is_the_stages(tmp_path):
    """Exit status 2 and its line, not the launcher's report."""
    done = run(tmp_path, "--fail", AIGID_PROCESSES="2")
    assert done.returncode == 2
    assert "b.png: truncated" in done.stderr
    assert "Traceback" not in done.stderr


PLAN = TrainConfig("toy", 0, num_items=4, batch_size=4, epochs=1)


def test_bad_numbers_are_refused(monkeypatch):
    monkeypatch.setenv("AIGID_PROCESSES", "none")
    with pytest.raises(InputError, match="AIGID_PROCESSES='none': want a whole number of at least 1"):
        launch(PLAN)
    monkeypatch.setenv("AIGID_PROCESSES", "2")
    monkeypatch.setenv("AIGID_DEVICE", "cuda:0")
    with pytest.raises(InputError, match="AIGID_PROCESSES=2: AIGID_DEVICE=cuda:0 is one GPU"):
        launch(PLAN)
    monkeypatch.delenv("AIGID_DEVICE")
    launch(None)
    monkeypatch.setenv("LOCAL_RANK", "0")  # as torchrun sets it
    launch(PLAN)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(InputError, match="toy: batches of 4 cannot be shared by 5 processes"):
        launch(PLAN)


EXPERT = {"backbone": "efficientnet_lite0_96", "seed": 0}
SECTIONS = {
    "featdistill": {"dataset": "demo", "experts": {"a": EXPERT}, "stage2": {"batch_size": 4}},
    "sef": {"expert": {"batch_size": 4}},
    "cnn": {"dataset": "demo", "batch_size": 8, "norm_batch_size": 4, "model": "tf_efficientnet_lite0"},
}


@pytest.mark.parametrize(
    ("stage", "options", "line"),
    [
        ("train_featdistill", "--expert a --start none --dataset demo --manifest m.csv --log log",
         "featdistill a stage 2: batches of 4 cannot be shared by 5 processes"),
        ("train_sef", "--pairs pairs --history log", "sef: batches of 4 cannot be shared by 5 processes"),
        ("train", "--detector cnn --manifest m.csv --input m.csv --component vae=none",
         "cnn: batch norms over 4 items cannot be shared by 5 processes, each of which takes as many"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused_before_an_image_is_read(stage, options, line, tmp_path, monkeypatch):
    """One line of one process; there is no image, no stage 1, no VAE."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIGID_PROCESSES", "5")
    (tmp_path / "data/images/demo").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(json.dumps(SECTIONS | {"seed": 0}))
    labels = [0, 1] * 4
    paths = [f"{number}.png" for number in range(8)]
    table = {"path": paths, "label": labels, "generator": ["gan" if label else "real" for label in labels]}
    table |= {"split": ["train", "train", "val", "val"] * 2, "sha256": [f"{number:064}" for number in range(8)]}
    manifests.write(pd.DataFrame(table), tmp_path / "m.csv")
    for domain in ("vae", "gan"):
        folder = tmp_path / "pairs" / domain / "pairs"
        (folder / "train").mkdir(parents=True)
        (folder / "train/a.png").touch()
        record = {"real": "train/a.png", "fake": "train/a.png"}
        (folder / "aligned.jsonl").write_text(json.dumps(record))
    result = CliRunner().invoke(import_module(f"stages.{stage}").main, [*options.split(), "--out", "out"])
    assert (result.exit_code, result.output) == (2, f"Error: {line}\n")
