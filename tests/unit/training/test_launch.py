"""AIGID_PROCESSES: a stage starts itself again as several processes, which fail as one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aigid.core.errors import InputError
from aigid.training.launch import launch

ROOT = Path(__file__).resolve().parents[3]
STAGE = """
import sys
from aigid.core.console import ErrorHandlingCommand
from aigid.core.errors import InputError
import click, torch
from aigid.training import distributed
from aigid.training.launch import launch

@click.command(cls=ErrorHandlingCommand)
@click.option("--fail", is_flag=True)
def main(fail):
    launch()
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


def test_bad_numbers_are_refused(monkeypatch):
    monkeypatch.setenv("AIGID_PROCESSES", "none")
    with pytest.raises(InputError, match="AIGID_PROCESSES='none': want a whole number of at least 1"):
        launch()
    monkeypatch.setenv("AIGID_PROCESSES", "2")
    monkeypatch.setenv("AIGID_DEVICE", "cuda:0")
    with pytest.raises(InputError, match="AIGID_PROCESSES=2: AIGID_DEVICE=cuda:0 is one GPU"):
        launch()
    monkeypatch.delenv("AIGID_DEVICE")
    launch(parallel=False)
    monkeypatch.setenv("LOCAL_RANK", "0")  # as torchrun sets it
    launch()
