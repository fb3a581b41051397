"""However a step is cut into passes and processes, and whatever is asked of the memory, its gradient is the same."""

from contextlib import closing, suppress
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.training import loop
from aigid.training.loop import Trainer
from aigid.training.passes import Passes
from aigid.training.task import ComputeType, TrainConfig, TrainTask, Validation
from tests.helpers.together import assert_trained_alike, stop_after, together

CPU = torch.device("cpu")
CONFIG = TrainConfig("toy", seed=0, num_items=26, batch_size=8, epochs=2, max_norm=0.5)
COMPARED = replace(CONFIG, group_size=4)  # a contrastive loss sees half of a step
X = torch.randn(26, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def task(compared):
    """Two layers in float64; a loss of each item, or of all pairs of items in a group."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)

    def separate(at, batch):
        rows = X[batch[0]]
        return {"wrong": (net(rows).sum(dim=1) - rows.sum(dim=1)).square().mean(), "size": net[0].weight.square().sum()}

    def outputs(at, batch):
        hidden = net[0](X[batch[0]])
        return hidden, net[2](net[1](hidden))

    def of_group(at, group):
        units = [functional.normalize(output, dim=1) for output in group]
        alike = torch.stack([(unit @ unit.T).exp().mean() for unit in units])
        return {"hidden": alike[0], "out": alike[1]}

    val = Validation(
        7, 8, lambda items: (items,), lambda batch: net(X[batch[0]]), lambda rows: ({"val": rows.std()}, None), block=3
    )
    return TrainTask(net, optimizer, schedule, of_group if compared else separate, val, outputs if compared else None)


def run(rank, config, folder, stop=1 << 30):
    """Train, but for ``stop`` steps at most, each of them saved."""
    stop_after(stop)
    given = task(config.group_size > 1)
    with suppress(KeyboardInterrupt):
        log = loop.train(config, given, folder / "run.pt")
        torch.save({"log": log, "net": given.net.state_dict()}, folder / f"{rank}.pt")


def result(num, config, folder):
    folder.mkdir()
    together(num, run, config, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(num)]


@pytest.mark.parametrize("config", [CONFIG, COMPARED], ids=["separate", "compared"])
@pytest.mark.parametrize(("num", "images"), [(1, 3), (2, 1), (3, 3), (8, 1)])
def test_any_number_of_processes_and_any_pass(config, num, images, tmp_path, monkeypatch):
    """26 items, steps of 8, groups of 4: with three processes shares differ, with more than two a group is parted."""
    monkeypatch.delenv("AIGID_BATCH", raising=False)
    (alone,) = result(1, config, tmp_path / "alone")
    if images:
        monkeypatch.setenv("AIGID_BATCH", str(images))
    parts = result(num, config, tmp_path / "parts")
    for part in parts:
        assert_trained_alike(part, alone, 1e-12, 1e-12)
    assert len({part["log"][1]["val"] for part in parts}) == 1


@pytest.mark.parametrize("config", [CONFIG, COMPARED], ids=["separate", "compared"])
def test_two_processes_then_one_then_four(config, tmp_path):
    """Six steps; the checkpoint's name says nothing of the processes."""
    (alone,) = result(1, config, tmp_path / "alone")
    for num, stop in ((2, 2), (1, 2), (4, 2)):
        assert not (tmp_path / "0.pt").exists()
        together(num, run, config, tmp_path, stop)
    assert_trained_alike(torch.load(tmp_path / "3.pt", weights_only=True), alone, 1e-12, 1e-12)


def test_the_order_of_items_is_that_of_one_process():
    """Each process's share lies in one piece, so that outputs of all, put together, are in the step's order."""
    for config in (CONFIG, COMPARED):
        passes = Passes(config, task(config.group_size > 1), ComputeType("float32", CPU))
        assert passes.share(8).tolist() == list(range(8))


class Scarce:
    """A network's outputs on a device that holds ``room`` items at once."""

    def __init__(self, outputs, room):
        self.outputs, self.room, self.tries = outputs, room, []

    def __call__(self, at, batch):
        self.tries.append(len(batch[0]))
        if len(batch[0]) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.outputs(at, batch)


@pytest.mark.parametrize("compared", [False, True])
def test_passes_are_halved_until_they_fit(compared, tmp_path):
    config = COMPARED if compared else CONFIG
    whole, cut = task(compared), task(compared)
    field = "outputs" if compared else "loss"
    scarce = Scarce(getattr(cut, field), room=3)
    loop.train(config, whole, tmp_path / "whole.pt")
    log = loop.train(config, replace(cut, **{field: scarce}), tmp_path / "cut.pt")
    assert scarce.tries[:4] == [8, 4, 2, 2]
    assert max(scarce.tries[4:]) == 2  # the size that fits is kept
    torch.testing.assert_close(cut.net.state_dict(), whole.net.state_dict(), atol=1e-12, rtol=0)
    assert len(log) == 2
    hopeless = replace(cut, **{field: Scarce(getattr(cut, field), room=0)})
    with pytest.raises(InputError, match=r"toy: cpu has too little memory for 1 item \(6 images\) at once"):
        loop.train(replace(config, images_per_item=6), hopeless, tmp_path / "none.pt")


def test_memory_that_ends_on_the_way_back(tmp_path):
    """The graph of a single pass is given up, and the passes are done again in halves."""
    whole, cut = task(True), task(True)
    tries = []

    def outputs(at, batch):
        def fail(gradient):
            tries.append(len(gradient))
            if len(gradient) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")

        results = cut.outputs(at, batch)
        if results[1].requires_grad:
            results[1].register_hook(fail)
        return results

    alone = replace(COMPARED, group_size=8)
    with closing(Trainer(alone, whole, tmp_path / "whole.pt")) as trainer:
        trainer.step(*next(trainer.steps()))
    with closing(Trainer(alone, replace(cut, outputs=outputs), tmp_path / "cut.pt")) as trainer:
        trainer.step(*next(trainer.steps()))
    assert tries == [8, 4, 4]
    assert trainer.passes.size == 4
    torch.testing.assert_close(cut.net.state_dict(), whole.net.state_dict(), atol=1e-12, rtol=0)


def test_drop_out_is_the_same_in_a_pass_that_is_done_again(tmp_path, monkeypatch):
    """The loss that is logged is that of the outputs through which its gradient goes back."""
    monkeypatch.setenv("AIGID_BATCH", "2")
    seen = []

    def outputs(at, batch):
        masks = functional.dropout(torch.ones(len(batch[0]), 4, dtype=torch.float64))
        seen.append(masks)
        return (plain.net[0](X[batch[0]]) * masks,)

    plain = task(True)
    once = replace(plain, outputs=outputs, loss=lambda at, group: {"out": group[0].square().mean()})
    with closing(Trainer(replace(COMPARED, group_size=8), once, tmp_path / "run.pt")) as trainer:
        trainer.step(*next(trainer.steps()))
    assert len(seen) == 8
    assert all(torch.equal(*masks) for masks in zip(seen[:4], seen[4:], strict=True))
    assert not torch.equal(seen[0], seen[1])
