"""Processes that share batches train as one alone, in each mode, and go on with the checkpoint of another number."""

from contextlib import suppress
from functools import cache

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
    how = settings(**{f"stage{stage}": {"epochs": 2, "batch_size": 5} | changes})
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


@pytest.fixture(scope="module")
def alone(images, root, tmp_path_factory):
    """What one process, which takes each step at once, learns in a stage."""

    @cache
    def train(number):
        folder, (stage, changes) = tmp_path_factory.mktemp("alone"), STAGES[number]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIGID_CACHE", str(folder / "cache"))
            together(1, _train, images, root, stage, changes, folder)
        return read(folder)

    return train


@pytest.mark.parametrize("at_once", [None, 1], ids=["whole shares", "image by image"])
@pytest.mark.parametrize("number", range(3), ids=IDS)
def test_two_processes_equal_one(number, at_once, alone, images, root, tmp_path, monkeypatch):
    """Steps of five images cannot be shared evenly."""
    expected = alone(number)
    if at_once:
        monkeypatch.setenv("AIGID_BATCH", str(at_once))
    together(2, _train, images, root, *STAGES[number], tmp_path)
    first, second = read(tmp_path), read(tmp_path, 1)
    torch.testing.assert_close(first["weights"], second["weights"], atol=0, rtol=0)
    assert_equal_runs(first, expected)


@pytest.mark.parametrize("numbers", [(2, 1, 4), (1, 2, 1)], ids=str)
@pytest.mark.parametrize("number", range(3), ids=IDS)
def test_a_run_goes_on_in_another_number_of_processes(number, numbers, alone, images, root, tmp_path):
    """Cut after two and after five of eight steps."""
    for num, stop in zip(numbers, (2, 3, 3), strict=True):  # the last would not end if it began anew
        assert not (tmp_path / "cut").exists()
        together(num, _train, images, root, *STAGES[number], tmp_path / "cut", stop)
    assert_equal_runs(read(tmp_path / "cut"), alone(number))
