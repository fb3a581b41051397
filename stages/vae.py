"""Get the autoencoder whose errors are looked at: from a folder, from the hub, or trained on photographs here."""

from pathlib import Path

import click

from aigid.aligned.generator import VaeSettings, obtain_autoencoder
from aigid.core import manifest, params
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--out", type=Path, required=True, help="The VAE's folder, in the format of diffusers.")
def main(dataset: str, manifest_path: Path, out: Path) -> None:
    settings, seed = params.load_section("vae", VaeSettings), params.load_section("seed", int)
    table, root = manifest.read_to_learn(manifest_path), dataset_root(dataset)
    from aigid.generators.autoencoder_kl import save  # torch, once the parameters are known to be good

    save(obtain_autoencoder(settings, table, root, seed), out)


if __name__ == "__main__":
    main()
