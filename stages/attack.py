"""Attack a detector on test images: by gradients, by transfer from another encoder, by edits, and by patches."""

from pathlib import Path

import click
import pandas as pd

from aigid.core import manifest, params, tables
from aigid.core.console import ErrorHandlingCommand
from aigid.core.files import dataset_root
from aigid.experiments import attack
from aigid.experiments.attack import AttackSettings
from aigid.experiments.attack_table import summarize
from aigid.metrics.decisions import EvaluationSettings


@click.command(cls=ErrorHandlingCommand, help=__doc__)
@click.option("--detector", required=True, help="Name of its section below `attack` in params.yaml.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--embeddings", type=Path, required=True, help="Of the images by the encoder of the attacker's detector.")
@click.option("--model", type=Path, required=True, help="The attacked detector's folder.")
@click.option("--vae", type=Path, required=True, help="Folder of the autoencoder that redraws photographs.")
@click.option("--out", type=Path, required=True, help="The table, .csv.")
def main(detector: str, manifest_path: Path, embeddings: Path, model: Path, vae: Path, out: Path) -> None:
    settings, seed = params.load_section(f"attack.{detector}", AttackSettings), params.load_section("seed", int)
    rule = params.load_section("evaluation", EvaluationSettings)
    table = manifest.read_to_learn(manifest_path)
    batches = attack.batches(table, settings.max_images, seed)
    images = table, manifest_path, dataset_root(settings.dataset)
    with attack.opened(model, vae, embeddings, images, settings, seed, rule) as run:
        tables.write(summarize(pd.concat(map(run, batches), ignore_index=True), seed), out)


if __name__ == "__main__":
    main()
