"""The training loop on a small regression: stopped and resumed, shared, clipped, and with numbers that are none."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aigid.core.errors import InputError
from aigid.training import loop
from aigid.training.loop import Trainer
from aigid.training.task import StepInfo, TrainConfig, TrainTask, Validation
from tests.helpers.together import stop_after, together

PLAN = TrainConfig("toy", seed=0, num_items=23, batch_size=4, epochs=3)
X = torch.from_numpy(np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32))


class Average:
    """A moving average of one number, as a teacher would be kept."""

    value = 0.0

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def learner(scores=(None,) * 3, scale=1.0, noise=0.1):
    """Two layers, the first one frozen; what it should say is the sum of its input."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1))
    net[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(
        [{"params": net[1].weight, "lr": 1e-2}, {"params": net[1].bias, "lr": 3e-2}], weight_decay=0
    )
    average, val_scores = Average(), iter(scores)

    def loss(at: StepInfo, batch):
        (items,) = batch
        output = net(X[items] + noise * torch.randn(len(items), 5)).squeeze(1)
        wrong = (output - X[items].sum(dim=1)).square().mean()
        return {"wrong": scale * wrong, "size": 0.01 * net[1].weight.square().sum()}

    def judge(rows):
        return {"val": float(np.square(rows - X.sum(dim=1).numpy()).mean())}, next(val_scores)

    def after(at: StepInfo):
        average.value += 0.5 * (float(net[1].bias.detach()) - average.value)

    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8, 1e-7)
    val = Validation(len(X), 8, lambda items: (items,), lambda batch: net(X[batch[0]]).squeeze(1), judge, block=5)
    return TrainTask(net, optimizer, schedule, loss, val, after_step=after, extra_state={"average": average})


def weights(task):
    return torch.cat([value.detach().flatten() for value in task.net.parameters()])


def test_learns_and_logs_each_term(tmp_path):
    task = learner()
    log = loop.train(PLAN, task, tmp_path / "run.pt")
    assert list(log[0]) == ["epoch", "learning_rate", "train_loss", "train_wrong", "train_size", "val"]
    assert [row["epoch"] for row in log] == [1, 2, 3]
    assert log[2]["val"] < log[0]["val"]
    assert log[1]["train_loss"] == pytest.approx(log[1]["train_wrong"] + log[1]["train_size"])
    assert set(torch.load(tmp_path / "run.pt", weights_only=True)["net"]) == {"1.weight", "1.bias"}


@pytest.mark.parametrize("stop", [1, 7, 14])
def test_a_stop_at_any_step_changes_nothing(tmp_path, monkeypatch, stop):
    save = Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda self, now=False: save(self, True))
    complete = learner()
    log = loop.train(PLAN, complete, tmp_path / "whole.pt")
    done, step = [], Trainer.step

    def stopping(self, *given):
        if len(done) == stop:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(given[0])
        return step(self, *given)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        loop.train(PLAN, learner(), tmp_path / "run.pt")
    again = learner()
    assert loop.train(PLAN, again, tmp_path / "run.pt") == log
    assert len(done) == 15 + 1  # no step twice
    assert torch.equal(weights(again), weights(complete))
    assert again.extra_state["average"].value == complete.extra_state["average"].value


def test_a_finished_run_is_not_done_again(tmp_path):
    first, again = learner((0.1, 0.9, 0.5)), learner()
    log = loop.train(PLAN, first, tmp_path / "run.pt")
    assert loop.train(PLAN, again, tmp_path / "run.pt") == log
    assert torch.equal(weights(again), weights(first))


def test_the_best_epoch_counts_or_the_last(tmp_path):
    two = TrainConfig("toy", seed=0, num_items=23, batch_size=4, epochs=2)
    after = {}
    for name, plan, scores in (
        ("second", two, (None,) * 2),
        ("best", PLAN, (0.1, 0.9, 0.5)),
        ("last", PLAN, (None,) * 3),
    ):
        task = learner(scores)
        task.schedule.T_max = 100
        loop.train(plan, task, tmp_path / f"{name}.pt")
        after[name] = weights(task)
    assert torch.equal(after["best"], after["second"])
    assert not torch.equal(after["best"], after["last"])


def test_numbers_that_are_none_stop_the_run(tmp_path, monkeypatch):
    save = Trainer.save
    monkeypatch.setattr(Trainer, "save", lambda self, now=False: save(self, True))
    path = tmp_path / "run.pt"
    with pytest.raises(InputError, match=r"toy: wrong is inf in epoch 1, step 1; there is no checkpoint yet"):
        loop.train(PLAN, learner(scale=float("inf")), path)
    with pytest.raises(InputError, match=r"toy: the gradient's norm is inf in epoch 1, step 1"):
        loop.train(PLAN, learner(scale=3e37), path)
    task, seen = learner(), []
    step = task.loss

    def failing(at, batch):
        seen.append(at)
        if (at.epoch, at.step) == (1, 2):
            return {"wrong": task.net[1].bias.sum() * float("nan")}
        return step(at, batch)

    bad = replace(task, loss=failing)
    with pytest.raises(InputError, match=rf"wrong is nan in epoch 2, step 3; the last good checkpoint is {path}$"):
        loop.train(PLAN, bad, path)
    saved = torch.load(path, weights_only=True)
    assert torch.isfinite(saved["net"]["1.weight"]).all()
    assert (saved["progress"]["epoch"], saved["progress"]["step"]) == (1, 2)
    assert seen[-1].progress == pytest.approx((5 + 2) / 15)


def test_the_gradient_is_clipped_over_all_parameters(tmp_path):
    net = nn.Linear(2, 1, bias=True)
    before = [value.detach().clone() for value in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    task = TrainTask(
        net, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        lambda at, batch: {"loss": 3 * net.weight.sum() + 4 * net.bias.sum()},
    )  # fmt: skip
    loop.train(TrainConfig("clip", 0, 1, 1, 1, max_norm=0.5), task, tmp_path / "run.pt")
    moved = torch.cat([(old - new).flatten() for old, new in zip(before, net.parameters(), strict=True)]).detach()
    torch.testing.assert_close(moved, torch.tensor([3.0, 3.0, 4.0]) * 0.5 / 34**0.5)


def _share(rank: int, folder: Path) -> None:
    task = learner(noise=0.0)
    if rank:
        nn.init.zeros_(task.net[1].weight)  # process 0 speaks for all
    log = loop.train(PLAN, task, folder / "run.pt")
    torch.save({"weights": weights(task), "log": log}, folder / f"{rank}.pt")
    with pytest.raises(InputError, match="batches of 1 cannot be shared by 2 processes"):
        loop.train(TrainConfig("toy", 0, 23, 1, 1), task, folder / "odd.pt")
    with pytest.raises(InputError, match="batch norms over 5 items cannot be shared by 2 processes, each of which"):
        loop.train(TrainConfig("toy", 0, 23, 5, 1, group_size=5, norms=True), task, folder / "odd.pt")
    with pytest.raises(InputError, match="batches of 8 cannot be cut into groups of 3"):
        loop.train(TrainConfig("toy", 0, 23, 8, 1, group_size=3), task, folder / "odd.pt")
    with pytest.raises(InputError, match="23 items fill no step of 24, which processes could share"):
        loop.train(TrainConfig("toy", 0, 23, 24, 1), task, folder / "few.pt")


def _go_on(rank: int, folder: Path, stop: int) -> None:
    """Train, but for ``stop`` steps at most, each of them saved."""
    stop_after(stop)
    with suppress(KeyboardInterrupt):
        task = learner(noise=0.0)
        log = loop.train(PLAN, task, folder / "run.pt")
        torch.save({"weights": weights(task), "log": log}, folder / f"{rank}.pt")


def _same_as_alone(saved_run: dict, folder: Path) -> None:
    alone = learner(noise=0.0)
    log = loop.train(PLAN, alone, folder / "alone.pt")
    torch.testing.assert_close(saved_run["weights"], weights(alone), atol=1e-5, rtol=0)
    for row, expected in zip(saved_run["log"], log, strict=True):
        assert row == pytest.approx(expected, abs=1e-4)


def test_two_processes_train_as_one(tmp_path):
    together(2, _share, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(first["weights"], second["weights"])
    _same_as_alone(first, tmp_path)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_checkpoint_goes_on_in_another_number_of_processes(before, after, tmp_path):
    together(before, _go_on, tmp_path, 7)  # of 15 steps, in the second epoch
    assert [path.name for path in tmp_path.glob("*.pt")] == ["run.pt"]
    together(after, _go_on, tmp_path, 8)
    _same_as_alone(torch.load(tmp_path / "0.pt", weights_only=True), tmp_path)
