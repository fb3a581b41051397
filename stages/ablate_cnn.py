"""What each channel is worth: the network trained on RGB alone, with the error, with the spectrum, with both."""

from pathlib import Path

import click

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.detectors.cnn.settings import AblationSettings, CnnSettings


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--dataset", required=True, help="Its images lie in $AIGID_DATA/<dataset> or data/images/<dataset>.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--vae", type=Path, required=True, help="The VAE's folder.")
@click.option("--out", type=Path, required=True, help="One row a set of channels, .csv.")
def main(dataset: str, manifest_path: Path, vae: Path, out: Path) -> None:
    settings, ablation = params.load_section("cnn", CnnSettings), params.load_section("ablation", AblationSettings)
    seed, table, root = params.load_section("seed", int), manifest.read(manifest_path), dataset_root(dataset)
    from aigid.experiments.cnn_ablation import ablate, channel_sets  # torch, once the parameters are good

    tables.write(ablate(channel_sets(settings, ablation), table, root, vae, seed), out)


if __name__ == "__main__":
    main()
