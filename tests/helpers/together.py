"""Processes that train together, as ``torchrun`` starts them, but forked, which is faster."""

import multiprocessing
import os
import signal
import socket
import time

import pytest
import torch
import torch._dynamo  # takes seconds, and the first optimizer imports it: here, once, not in each forked process

from aigid.training import distributed
from aigid.training.loop import Trainer


def together(num, target, *arguments):
    """Run ``target(rank, *arguments)`` on a CPU in each of ``num`` processes, all of which must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    group = [fork.Process(target=_one, args=(rank, num, port, target, arguments)) for rank in range(num)]
    for process in group:
        process.start()
    for process in group:
        process.join(120)
    assert [process.exitcode for process in group] == [0] * num


def _one(rank, num, port, target, arguments):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num), "AIGID_DEVICE": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group():
        target(rank, *arguments)


def assert_trained_alike(found, expected, log=1e-6, weights=1e-8):
    """Two results of a training in float64, ``log`` (a list of rows, or columns) and ``net`` (a state), are equal."""
    torch.testing.assert_close(found["net"], expected["net"], atol=weights, rtol=100 * weights)
    if isinstance(found["log"], dict):
        assert found["log"] == {name: pytest.approx(values, abs=log) for name, values in expected["log"].items()}
    else:
        assert found["log"] == [pytest.approx(row, abs=log) for row in expected["log"]]


def save_every_step():
    """Have this process's trainings write a checkpoint after every step, and wait for it."""
    save = Trainer.save
    Trainer.save = lambda self, now=False: save(self, True)


def stop_after(num):
    """Have this process's trainings save every step, and end as by Ctrl-C where they would take more than ``num``."""
    save_every_step()
    left, step = iter(range(num)), Trainer.step

    def stopping(self, *given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(self, *given)

    Trainer.step = stopping


def train_in_child(target, *arguments, kill_at=None):
    """Run ``target(*arguments)`` in a process that saves every step and kills itself before step ``kill_at``.

    Returns its exit code and how many steps it did.
    """
    context = multiprocessing.get_context("fork")
    done = context.Value("i", 0)

    def run():
        torch.set_num_threads(1)
        os.environ["AIGID_DEVICE"] = "cpu"
        save_every_step()
        step = Trainer.step

        def counted(self, *given):
            if done.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            done.value += 1
            return step(self, *given)

        Trainer.step = counted
        target(*arguments)

    process = context.Process(target=run)
    process.start()
    deadline = time.monotonic() + 100
    while process.exitcode is None and time.monotonic() < deadline:  # join would wait for what a killed one leaves, too
        time.sleep(0.01)
    return process.exitcode, done.value
