"""Mixed precision with a CPU's scaler: what a step that is not finite leaves alone, and what stays in float32."""

from contextlib import closing

import pytest
import torch
from torch import nn

from aigid.core.errors import InputError
from aigid.training import checkpoints, loop
from aigid.training.loop import Trainer
from aigid.training.task import ComputeType, StepInfo, TrainConfig, TrainTask
from tests.unit.training.test_loop import Average

CPU = torch.device("cpu")
X = torch.randn(24, 5, generator=torch.Generator().manual_seed(0))


def task(factor=1.0):
    """A regression with a batch norm; ``factor`` is that of the loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer, count = torch.optim.AdamW(net.parameters(), lr=1e-2), Average()

    def loss(at, batch):
        wrong = net(X[batch[0]]).squeeze(1) - X[batch[0]].sum(dim=1)
        return {"wrong": factor * wrong.square().mean()}

    def after(at):
        count.value += 1

    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 20)
    return TrainTask(net, optimizer, schedule, loss, after_step=after, extra_state={"count": count})


def config(precision, **changes):
    return TrainConfig("toy", 0, **{"num_items": 24, "batch_size": 8, "epochs": 2, "precision": precision} | changes)


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "tf32", "float32", "auto"])
def test_products_are_narrow_and_weights_wide(precision, tmp_path):
    given, types = task(), []
    given.net[0].register_forward_hook(lambda module, inputs, output: types.append(output.dtype))
    log = loop.train(config(precision, epochs=20), given, tmp_path / "run.pt")
    assert log[-1]["train_loss"] < 0.6 * log[0]["train_loss"]
    assert set(types) == {{"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)}
    assert {value.dtype for value in given.net.parameters()} == {torch.float32}
    saved = checkpoints.load(tmp_path / "run.pt")
    assert ("scaler" in saved) == (precision == "float16")
    assert {value["exp_avg"].dtype for value in saved["optimizer"]["state"].values()} == {torch.float32}


def test_auto_is_float16_on_cuda_alone():
    assert ComputeType("auto", CPU).dtype == torch.float32
    if torch.cuda.is_available():
        assert ComputeType("auto", torch.device("cuda")).dtype == torch.float16


@pytest.mark.parametrize(("precision", "expected"), [("tf32", ("high", True)), ("float16", ("highest", False))])
def test_tf32_is_a_choice_of_the_settings(precision, expected):
    def state():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = state()
    with ComputeType(precision, CPU).float32_products():
        assert state() == expected
    assert state() == before


def test_a_step_that_overflows_is_done_again_and_moves_nothing_before(tmp_path):
    """The loss is infinite twice; then it is not."""
    given = task()
    with closing(Trainer(config("float16"), given, tmp_path / "run.pt")) as trainer:
        steps = trainer.steps()
        trainer.step(*next(steps))
        scale, states = trainer.compute.scaler.get_scale(), []
        plain = given.loss

        def overflowing(at: StepInfo, batch):
            now = given.net[1].running_mean.clone(), given.net[0].weight.detach().clone()
            moved = given.schedule.last_epoch, given.extra_state["count"].value
            states.append((*moved, *now, trainer.compute.scaler.get_scale()))
            terms = plain(at, batch)
            return {"wrong": terms["wrong"] * (float("inf") if len(states) < 3 else 1.0)}

        object.__setattr__(given, "loss", overflowing)
        trainer.step(*next(steps))
        tries = list(zip(*states, strict=True))
        assert tries[4] == (scale, scale / 2, scale / 4)
        assert tries[0] == (1, 1, 1)  # the schedule
        assert tries[1] == (1, 1, 1)  # the moving average
        for values in tries[2:4]:  # statistics and weights
            assert torch.equal(values[0], values[1])
            assert torch.equal(values[0], values[2])
        assert (given.schedule.last_epoch, given.extra_state["count"].value, trainer.progress.step) == (2, 2, 2)
        assert trainer.progress.sums["wrong"] < 1e4


def test_large_gradients_are_scaled_down_until_they_fit(tmp_path):
    """A loss of 1e3 times as much has gradients beyond 65504 / 65536 in float16: no step is lost, the loss falls."""
    given = task(factor=1e3)
    log = loop.train(config("float16", epochs=20), given, tmp_path / "run.pt")
    assert given.extra_state["count"].value == 20 * 3
    assert log[-1]["train_loss"] < 0.6 * log[0]["train_loss"]
    assert checkpoints.load(tmp_path / "run.pt")["scaler"]["scale"] < 65536


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_what_is_not_finite_at_any_scale_stops_the_run(precision, tmp_path):
    given, tries = task(factor=float("nan")), []
    given.net[0].register_forward_hook(lambda *_: tries.append(0))
    with pytest.raises(InputError, match=r"toy: wrong is nan in epoch 1, step 1; there is no checkpoint yet"):
        loop.train(config(precision), given, tmp_path / "run.pt")
    assert len(tries) == (17 if precision == "float16" else 1)  # 65536 to 1


def test_a_run_goes_on_in_another_precision(tmp_path):
    """A machine without float16 continues one that had it, and the other way."""
    for number, (first, second) in enumerate((("float16", "float32"), ("float32", "float16"))):
        path = tmp_path / f"{number}.pt"
        loop.train(config(first, epochs=1), task(), path)
        log = loop.train(config(second, epochs=2), task(), path)
        assert [row["epoch"] for row in log] == [1, 2]
