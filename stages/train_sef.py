"""Train SEF's experts on aligned pairs, and the one for both domains; after a kill, go on from the last checkpoint.

``AIGID_PROCESSES=N``: N processes share each step.
"""

from pathlib import Path

import click
import pandas as pd

from aigid.core import params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.detectors.sef.settings import EXPERTS, ExpertSettings
from aigid.training.launch import launch


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--pairs", type=Path, required=True, help="Folder of <domain>/pairs.")
@click.option("--out", type=Path, required=True, help="Gets <expert>.safetensors: adapters and their classifier.")
@click.option("--history", type=Path, required=True, help="Gets <expert>.csv, one row an epoch.")
def main(pairs: Path, out: Path, history: Path) -> None:
    settings, seed = params.load_section("sef.expert", ExpertSettings), params.load_section("seed", int)
    from aigid.detectors.sef.data import open_pairs
    from aigid.detectors.sef.model import save
    from aigid.detectors.sef.training import fit, plan
    from aigid.training import distributed  # torch, once the parameters are known to be good

    domains = {domain: open_pairs(pairs / domain / "pairs") for domain in EXPERTS["both"]}
    launch(plan(settings, min(len(pairs_of.split("train")) for pairs_of in domains.values()), seed))
    checkpoints = []
    with distributed.process_group() as device:
        for expert, taken in EXPERTS.items():
            trained, epochs, checkpoint = fit(settings, {domain: domains[domain] for domain in taken}, seed, device)
            checkpoints.append(checkpoint)
            if distributed.rank() == 0:
                save(trained, settings, out / f"{expert}.safetensors")
                tables.write(pd.DataFrame(epochs), history / f"{expert}.csv")
        if distributed.rank() == 0:
            for checkpoint in checkpoints:  # only now: DVC removes the folder of a killed run
                checkpoint.unlink()


if __name__ == "__main__":
    main()
