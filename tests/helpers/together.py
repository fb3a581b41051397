"""Processes that train together, as ``torchrun`` starts them, but forked, which is faster."""

import multiprocessing
import os
import socket

import torch

from aigid.training import distributed, loop
from aigid.training.loop import Trainer


def together(num, target, *arguments):
    """Run ``target(rank, *arguments)`` on a CPU in each of ``num`` processes, all of which must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    group = [fork.Process(target=_one, args=(rank, num, port, target, arguments)) for rank in range(num)]
    for one in group:
        one.start()
    for one in group:
        one.join(120)
    assert [one.exitcode for one in group] == [0] * num


def _one(rank, num, port, target, arguments):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num), "AIGID_DEVICE": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group():
        target(rank, *arguments)


def stop_after(num):
    """Have this process's trainings save every step, and end as by Ctrl-C where they would take more than ``num``."""
    loop.CHECKPOINT_SECONDS, left, step = 0.0, iter(range(num)), Trainer.step

    def stopping(self, *given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(self, *given)

    Trainer.step = stopping
