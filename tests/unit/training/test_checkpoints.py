"""Checkpoints: how often, what of, and that training goes on meanwhile."""

import multiprocessing
import os
import re
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from aigid.core.cache import checkpoint_path
from aigid.core.errors import InputError
from aigid.training import checkpoints, loop
from aigid.training.checkpoints import CheckpointWriter, snapshot
from tests.unit.training.test_passes import CONFIG, task


class Clock:
    """Seconds that go by when they are told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_they_cost_at_most_a_fiftieth_of_the_time(tmp_path, monkeypatch, clock):
    """One that takes 4 s is next written after 200 s, a quick one after 30 s."""
    save = torch.save
    seconds = [4.0, 0.1]
    monkeypatch.setattr(torch, "save", lambda *given: (setattr(clock, "now", clock.now + seconds.pop(0)), save(*given)))
    writer, due = CheckpointWriter(tmp_path / "run.pt", clock), []
    for second in range(300):
        clock.now = 1000.0 + second
        if writer.due():
            due.append(second)
            writer.save({"second": second}, wait=True)
        if len(due) == 2:
            break
    assert due == [30, 230]
    clock.now = 1230.2 + 29.7
    assert not writer.due()
    clock.now = 1230.0 + 30.0
    assert writer.due()
    writer.close()
    assert checkpoints.load(tmp_path / "run.pt") == {"second": 230}


def test_a_thread_writes_what_was_there_at_the_moment(tmp_path, monkeypatch, clock):
    """None is due while one is written; weights, moments and the log may change meanwhile."""
    net, log, go, save = nn.Linear(2, 1), [{"loss": 1.0}], threading.Event(), torch.save
    before = {name: value.clone() for name, value in net.state_dict().items()}
    monkeypatch.setattr(torch, "save", lambda *given: (go.wait(10), save(*given)))
    writer = CheckpointWriter(tmp_path / "run.pt", clock)
    writer.save({"net": net.state_dict(), "log": log})
    clock.now += 10_000
    assert not writer.due()
    with torch.no_grad():
        net.weight.fill_(7)
    log[0]["loss"] = 2.0
    assert not (tmp_path / "run.pt").exists()
    go.set()
    writer.close()
    saved = checkpoints.load(tmp_path / "run.pt")
    assert saved["log"] == [{"loss": 1.0}]
    assert all(torch.equal(saved["net"][name], before[name]) for name in before)


def test_a_snapshot_shares_nothing():
    optimizer = torch.optim.AdamW([weight := torch.ones(3, requires_grad=True)])
    weight.sum().backward()
    optimizer.step()
    state = {"optimizer": optimizer.state_dict(), "pair": (torch.ones(1), [1, {"a": torch.zeros(1)}])}
    copied = snapshot(state)
    moments = copied["optimizer"]["state"][0]["exp_avg"].clone()
    optimizer.step()
    state["pair"][1][1]["a"].fill_(5)
    assert torch.equal(copied["optimizer"]["state"][0]["exp_avg"], moments)
    assert isinstance(copied["pair"], tuple)
    assert copied["pair"][1][1]["a"].item() == 0


@pytest.mark.parametrize("variable", ["", "elsewhere"], ids=["unset", "set"])
@pytest.mark.usefixtures("full_disk")
def test_a_disk_that_is_full_is_told_at_the_next_one(variable, tmp_path, monkeypatch, clock):
    """In one line, whether ``$AIGID_CACHE`` names a folder or not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AIGID_CACHE", variable and str(tmp_path / variable))
    folder = tmp_path / (variable or ".cache/aigid")
    for state in ({}, {"net": torch.zeros(100_000)}):  # all in a buffer, and more
        writer = CheckpointWriter(checkpoint_path("run", []), clock)
        writer.save(state)
        said = f"cache {folder}: No space left on device; $AIGID_CACHE names another folder"
        with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
            writer.save(state)
        writer.close()


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    given, steps = task(False), []
    with pytest.raises(InputError, match=r"cache .*: File exists; \$AIGID_CACHE names another folder"):
        loop.train(CONFIG, replace(given, loss=lambda *_: steps.append(0)), tmp_path / "file" / "run.pt")
    assert not steps


@pytest.mark.parametrize(
    "content", [b"", b"nothing of the kind", b"\x80\x02", b"\x80\x02\x8a", b"PK\x03\x04", b"\0" * 99]
)
def test_a_broken_file_is_named(content, tmp_path):
    (tmp_path / "run.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.pt: no whole checkpoint \(.*\); without it, training starts again"):
        checkpoints.load(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("before", "now", "names"),
    [
        ({"dda": {"p": 0.5}}, {"dda": {"p": 0.6}}, "dda"),
        ({"a": [1], "b": [1]}, {"a": [2]}, "a, b"),
        ({"revision": 1, "dda": 0}, {"revision": 2, "dda": 0}, "its operators"),
    ],
)
def test_one_of_another_definition_is_refused(before, now, names, tmp_path):
    """With the reason; without it, training starts again, and one of the same definition goes on."""
    path, given = tmp_path / "run.pt", task(False)
    log = loop.train(replace(CONFIG, definitions=before), given, path)
    assert loop.train(replace(CONFIG, definitions=before), given, path) == log
    said = f"{path}: from training under an older definition of {names}; remove it, to train anew"
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        loop.train(replace(CONFIG, definitions=now), given, path)
    path.unlink()
    loop.train(replace(CONFIG, definitions=now), task(False), path)


def test_processes_and_machines_are_not_in_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGID_CACHE", str(tmp_path))
    names = set()
    for world, device in (("1", "cpu"), ("4", "cuda")):
        monkeypatch.setenv("WORLD_SIZE", world)
        monkeypatch.setenv("AIGID_DEVICE", device)
        names.add(checkpoint_path("featdistill clip_1 stage 1", [{"seed": 0}, "start"]))
    (path,) = names
    assert path.name.startswith(f"featdistill-clip-1-stage-1_4_{torch.__version__.partition('+')[0]}")
    assert path != checkpoint_path("featdistill clip_1 stage 1", [{"seed": 1}, "start"])


def _slow_run(folder):
    """Forty epochs, whose steps are counted in a file."""
    given = task(False)

    def loss(at, batch):
        with (folder / "steps").open("a") as file:
            file.write(f"{at.epoch} {at.step}\n")
        time.sleep(0.05)
        return given.loss(at, batch)

    try:
        loop.train(replace(CONFIG, epochs=40), replace(given, loss=loss), folder / "run.pt")
    except KeyboardInterrupt as interrupt:
        (folder / "message").write_text(str(interrupt))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_answered_by_a_checkpoint_of_the_step(number, tmp_path):
    """Twice at once, as from a terminal and from torchrun, it is one; no interval has passed that would have saved."""
    process = multiprocessing.get_context("fork").Process(target=_slow_run, args=(tmp_path,))
    process.start()
    while not (tmp_path / "steps").exists() and process.is_alive():
        time.sleep(0.01)
    for _ in range(2):
        os.kill(process.pid, number)
        time.sleep(0.02)
    process.join(60)
    assert process.exitcode == 0
    assert (tmp_path / "message").read_text() == "toy: stopped and saved; the same command goes on from here"
    progress = checkpoints.load(tmp_path / "run.pt")["progress"]
    done = (tmp_path / "steps").read_text().splitlines()
    assert len(done) == 3 * progress["epoch"] + progress["step"]
