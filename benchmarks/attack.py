"""What an attacker can do to a bundle, on photographs: gradients, transfer from another encoder, edits, patches.

python -m benchmarks.attack --root shared/data/photos --embeddings lite0_stages/photos.h5 --vae data/models/vae
"""

import tempfile
from pathlib import Path

import click

from aigid.core import manifest
from aigid.experiments.attack import DETECTOR, SURROGATE, AttackSettings, ImageSample, study, surrogate
from aigid.prediction import DEFAULT_BUNDLE
from aigid.prediction.predict import Predictor
from benchmarks import record


@click.command(help=__doc__)
@click.option("--root", type=Path, required=True, help="Folder of the dataset and its manifest.csv.")
@click.option("--embeddings", type=Path, required=True, help="Of the surrogate's encoder.")
@click.option("--vae", type=Path, required=True, help="Folder of the autoencoder that redraws photographs.")
@click.option("--model", type=Path, default=DEFAULT_BUNDLE, help="A bundle.  [default: the package's]")
@click.option("--images", default=60, show_default=True, help="Test images of each class.")
@click.option("--steps", default=3, show_default=True, help="Of PGD for each epsilon.")
@record.out_option
def main(root: Path, embeddings: Path, vae: Path, model: Path, images: int, steps: int, out: Path) -> None:
    from aigid.generators.autoencoder_kl import load_any

    path = root / "manifest.csv"
    table, chosen = manifest.read_to_learn(path), {"max_images": images, "steps": steps, "precision": "bfloat16"}
    settings = AttackSettings(detector=DETECTOR, backbone=embeddings.parent.name, dataset="photos", **chosen)
    with tempfile.TemporaryDirectory() as folder:
        surrogate(table, path, embeddings, settings, 0, Path(folder, SURROGATE))
        predictors = {DETECTOR: Predictor(model), SURROGATE: Predictor(Path(folder, SURROGATE))}
        rows = study(ImageSample(table, root, images, 0), predictors, load_any(vae), settings, 0)
    rows = rows.round(4)
    record.write_table("attack", rows.to_dict("records"), out)
    click.echo(
        rows[["source", "target", "attack", "strength", "images", "auroc", "wrong", "uncertain", "psnr"]].to_string()
    )


if __name__ == "__main__":
    main()
