"""Start a stage again as several processes, which share its training: ``$AIGID_PROCESSES``, usually one a GPU."""

import logging
import os
import sys
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING
from uuid import uuid4

from aigid.core.console import print_status
from aigid.core.errors import InputError
from aigid.core.files import device_name, num_processes, num_workers

if TYPE_CHECKING:
    from aigid.training.task import TrainConfig


def launch(plan: "TrainConfig | None") -> None:
    """Run the stage that is being run in ``$AIGID_PROCESSES`` processes, as ``torchrun`` would, and exit as they do.

    Return in each of these, and where one process is enough, as where there is no training to share. InputError where
    there are fewer GPUs, or where the training cannot be cut over so many processes.
    """
    if plan is None:
        return
    started = "LOCAL_RANK" in os.environ  # by torchrun
    num = int(os.environ.get("WORLD_SIZE", "1")) if started else num_processes()
    plan.check(num)
    if num == 1 or started:
        return
    import torch
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    gpus = torch.cuda.device_count()
    if device_name() == "auto" and gpus and num > gpus:
        raise InputError(f"AIGID_PROCESSES={num}: this machine has {gpus} GPUs")
    if ":" in device_name():
        raise InputError(f"AIGID_PROCESSES={num}: AIGID_DEVICE={device_name()} is one GPU; want cuda, cpu or auto")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(num_workers() // num, 1)))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes say what is wrong
    config = LaunchConfig(
        1, 1, num, run_id=uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0", max_restarts=0
    )
    stage = getattr(sys.modules["__main__"].__spec__, "name", "")
    try:
        elastic_launch(config, sys.executable)("-m", stage, *sys.argv[1:])
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for rank, code in codes.items():
            if code < 0 and -code not in (SIGINT, SIGTERM):  # by which the others are ended
                print_status(f"{stage}: process {rank} of {num} was ended by signal {-code}")
        sys.exit(2 if 2 in codes.values() else 1)
    except SignalException:
        sys.exit(1)
    sys.exit(0)
