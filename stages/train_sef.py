"""Train SEF's experts on aligned pairs, and the one for both domains; after a kill, go on from the last checkpoint.

On several devices: torchrun --nproc-per-node N -m -- stages.train_sef ...
"""

from pathlib import Path

import click
import pandas as pd

from aigid.base import params, tables
from aigid.base.command import Command
from aigid.detectors.sef.settings import EXPERTS, ExpertSettings


@click.command(cls=Command, help=__doc__)
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--out", type=Path, required=True, help="Gets <expert>.safetensors: adapters and their classifier.")
@click.option("--history", type=Path, required=True, help="Gets <expert>.csv, one row an epoch.")
def main(pairs: Path, out: Path, history: Path) -> None:
    settings, seed = params.load("sef.expert", ExpertSettings), params.load("seed", int)
    from aigid.detectors.sef.expert import save
    from aigid.detectors.sef.pairs import open_pairs
    from aigid.detectors.sef.training import fit
    from aigid.detectors.training import parallel  # torch, once the parameters are known to be good

    domains = {domain: open_pairs(pairs / domain / "pairs") for domain in EXPERTS["both"]}
    checkpoints = []
    with parallel.processes() as device:
        for expert, taken in EXPERTS.items():
            trained, epochs, checkpoint = fit(settings, {domain: domains[domain] for domain in taken}, seed, device)
            checkpoints.append(checkpoint)
            if parallel.rank() == 0:
                save(trained, settings, out / f"{expert}.safetensors")
                tables.write(pd.DataFrame(epochs), history / f"{expert}.csv")
        if parallel.rank() == 0:
            for checkpoint in checkpoints:  # only now: DVC removes the folder of a killed run
                checkpoint.unlink()


if __name__ == "__main__":
    main()
