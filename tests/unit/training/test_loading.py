"""What the pool of processes reads: in order, as far ahead as is said, and what becomes of its faults."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import numpy as np
import pytest
import torch

from aigid.core.errors import InputError
from aigid.training import loading
from aigid.training.loading import Request, RunLoader, concatenate, read_ahead, select
from aigid.training.task import TrainConfig, TrainTask, Validation


class Batch(NamedTuple):
    number: np.ndarray
    process: np.ndarray
    absent: None = None


def read(request):
    return Batch(request.items, np.full(len(request.items), os.getpid()))


def requests(num=20, size=3) -> Iterator[Request]:
    return (Request(0, np.arange(size * number, size * (number + 1))) for number in range(num))


def test_blocks_come_in_order_from_several_processes(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "3")
    with closing(read_ahead(read, requests(), 3, "toy")) as blocks:
        batch = concatenate(list(blocks), pin=False)
    assert isinstance(batch, Batch)
    assert batch.number.tolist() == list(range(60))
    assert batch.absent is None
    processes = set(batch.process.tolist())
    assert len(processes) == 3
    assert os.getpid() not in processes
    assert select(batch, slice(2, 4)).number.tolist() == [2, 3]


@pytest.mark.parametrize(("workers", "blocks", "steps"), [(2, 2, 3), (4, 2, 4), (1, 1, 3)])
def test_they_are_two_to_four_steps_ahead(workers, blocks, steps, monkeypatch):
    """Or as many as keep two blocks for each process, where a step has fewer of them."""
    monkeypatch.setenv("AIGID_WORKERS", str(workers))
    pulled = []

    def counted():
        for request in requests(60):
            pulled.append(request)
            yield request

    with closing(read_ahead(read, counted(), blocks, "toy")) as ahead:
        for _ in range(5 * blocks):
            next(ahead)
        assert len(pulled) == (5 + steps) * blocks


def test_a_fault_of_the_user_is_one_line_in_its_turn(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "2")

    def broken(request):
        if 9 in request.items:
            raise InputError("a.png: truncated")
        return read(request)

    with closing(read_ahead(broken, requests(), 2, "toy")) as blocks:
        for _ in range(3):
            next(blocks)
        with pytest.raises(InputError, match=r"^a\.png: truncated$"):
            next(blocks)


def test_a_process_that_dies_is_one_line(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "2")

    def killed(request):
        os.kill(os.getpid(), signal.SIGKILL)

    line = r"toy: a process that reads images has died \(.*\); fewer of them, AIGID_WORKERS=1, need less"
    with closing(read_ahead(killed, requests(), 2, "toy")) as blocks, pytest.raises(InputError, match=line):
        next(blocks)


def test_a_fault_of_the_program_is_none_of_the_machine(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "1")

    def wrong(request):
        raise RuntimeError("shapes differ")

    with (
        closing(read_ahead(wrong, requests(), 1, "toy")) as blocks,
        pytest.raises(RuntimeError, match="shapes differ") as error,
    ):
        next(blocks)
    assert error.value.__traceback__ is not None  # and with it the frames of what has failed
    assert not multiprocessing.active_children()


def test_signals_are_the_parents(monkeypatch):
    """Ctrl-C reaches the whole group: a process that ended by it would take the step with it that is to be saved."""
    monkeypatch.setenv("AIGID_WORKERS", "1")

    def signaled(request):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return read(request)

    with closing(read_ahead(signaled, requests(3), 1, "toy")) as blocks:
        assert len(list(blocks)) == 3


def test_none_is_left_behind(monkeypatch):
    monkeypatch.setenv("AIGID_WORKERS", "2")
    with closing(read_ahead(read, requests(1000), 2, "toy")) as blocks:
        next(blocks)
        assert len(multiprocessing.active_children()) >= 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("max_bytes", "times"), [(1 << 30, 1), (10, 3)])
def test_validation_is_read_once_if_it_fits(max_bytes, times, monkeypatch):
    """It stands between the epochs' steps; what is kept is not read again."""
    monkeypatch.setenv("AIGID_WORKERS", "2")
    monkeypatch.setattr(loading, "MAX_BYTES", max_bytes)
    reads = multiprocessing.get_context("fork").Value("i", 0)

    def read_val(items):
        with reads.get_lock():
            reads.value += len(items)
        return (-items,)

    config = TrainConfig("toy", 0, num_items=13, batch_size=4, epochs=3)
    net = torch.nn.Linear(1, 1)
    val = Validation(7, 2, read_val, None, None, block=3)
    task = TrainTask(net, None, None, None, val, read=lambda epoch, items: (100 * epoch + items,))
    seen, validated = [], []
    with closing(RunLoader(config, task, np.arange(4), (0, 1))) as loader:
        for epoch in range(3):
            for _ in range(1 if epoch == 0 else 0, 3):
                seen += loader.batch()[0].tolist()
            validated.append(torch.cat([block[0] for block in loader.validation_blocks()]).tolist())
    assert validated == [[0, -1, -2, -3, -4, -5, -6]] * 3
    assert reads.value == 7 * times
    assert [number // 100 for number in seen] == [0] * 8 + [1] * 12 + [2] * 12  # the first step was done before
    assert all(len(set(seen[start : start + 12])) == 12 for start in (8, 20))
