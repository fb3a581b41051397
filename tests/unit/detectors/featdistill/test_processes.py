"""Processes that share batches train as one alone, in each mode, and go on with the checkpoint of another number."""

from contextlib import suppress

import pytest
import torch

from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill import training
from aigid.detectors.featdistill.training import StageRun
from aigid.features.encoder import normalize
from tests.helpers.demo_experts import settings
from tests.helpers.together import stop_after, together

STAGES = [(1, {}), (2, {"mode": "l2"}), (2, {"mode": "crd_ema", "queue": 20, "momentum": (0.5, 0.9)})]
IDS = ("stage 1", "l2", "crd_ema")


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """The libraries, once: processes are forked."""
    experts.build(settings().experts["siglip"])


def _train(rank, images, root, stage, changes, folder, stop=100):
    """Train in float64, for ``stop`` steps at most, each of them saved."""
    training.normalize = lambda *given: normalize(*given).double()
    stop_after(stop)
    how = settings(**{f"stage{stage}": {"epochs": 2, "batch_size": 4} | changes})
    course = StageRun(how, "siglip", stage, images, root, 0)
    expert = experts.build(course.expert).double()
    with suppress(KeyboardInterrupt):
        log, _ = training.train(course, expert, torch.device("cpu"))
        folder.mkdir(exist_ok=True)
        torch.save({"weights": expert.state_dict(), "log": log}, folder / f"{rank}.pt")


def assert_equal_runs(first, second):
    torch.testing.assert_close(first["weights"], second["weights"], atol=1e-6, rtol=0)
    for row, expected in zip(first["log"], second["log"], strict=True):
        assert row == pytest.approx(expected, rel=1e-6)


def read(folder, rank=0):
    return torch.load(folder / f"{rank}.pt", weights_only=True)


@pytest.mark.parametrize("at_once", [None, 1], ids=["whole shares", "image by image"])
@pytest.mark.parametrize(("stage", "changes"), STAGES, ids=IDS)
def test_two_processes_equal_one(stage, changes, at_once, images, root, tmp_path, monkeypatch):
    """Steps of five images cannot be shared evenly; the one process takes each step at once."""
    for num in (1, 2):
        monkeypatch.setenv("AIGID_CACHE", str(tmp_path / f"cache {num}"))
        if at_once and num > 1:
            monkeypatch.setenv("AIGID_BATCH", str(at_once))
        together(num, _train, images, root, stage, changes | {"batch_size": 5}, tmp_path / str(num))
    alone, first, second = read(tmp_path / "1"), read(tmp_path / "2"), read(tmp_path / "2", 1)
    torch.testing.assert_close(first["weights"], second["weights"], atol=0, rtol=0)
    assert_equal_runs(first, alone)


@pytest.mark.parametrize("numbers", [(2, 1, 4), (1, 2, 1)], ids=str)
@pytest.mark.parametrize(("stage", "changes"), STAGES, ids=IDS)
def test_a_run_goes_on_in_another_number_of_processes(stage, changes, numbers, images, root, tmp_path, monkeypatch):
    """Cut after three and after eight of twelve steps."""
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "cache"))
    for num, stop in zip(numbers, (3, 5, 4), strict=True):  # the last would not end if it began anew
        assert not (tmp_path / "cut").exists()
        together(num, _train, images, root, stage, changes, tmp_path / "cut", stop)
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path / "another"))
    together(1, _train, images, root, stage, changes, tmp_path / "whole")
    assert_equal_runs(read(tmp_path / "cut"), read(tmp_path / "whole"))
