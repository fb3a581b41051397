"""Train one expert of SEF on aligned pairs; after a kill it goes on from its last checkpoint.

On several devices: torchrun --nproc-per-node=N -m stages.train_sef ...
"""

from pathlib import Path

import click
import pandas as pd

from aigid import params, tables
from aigid.command import Command
from aigid.detectors.sef.settings import EXPERTS, SefSettings


@click.command(cls=Command, help=__doc__)
@click.option("--expert", type=click.Choice(list(EXPERTS)), required=True)
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--out", type=Path, required=True, help="The adapters and their classifier, .safetensors.")
@click.option("--log", type=Path, required=True, help="One row an epoch, .csv.")
def main(expert: str, pairs: Path, out: Path, log: Path) -> None:
    settings, seed = params.load("sef", SefSettings), params.load("seed", int)
    from aigid.detectors import parallel  # torch, once the parameters are known to be good
    from aigid.detectors.sef.expert import save
    from aigid.detectors.sef.pairs import open_pairs
    from aigid.detectors.sef.training import fit

    domains = {domain: open_pairs(pairs / domain / "pairs") for domain in EXPERTS[expert]}
    with parallel.processes() as device:
        trained, epochs, checkpoint = fit(settings, domains, seed, device)
        if parallel.rank() == 0:
            save(trained, settings, out)
            tables.write(pd.DataFrame(epochs), log)
            checkpoint.unlink()


if __name__ == "__main__":
    main()
