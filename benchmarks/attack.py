"""What an attacker can do to a bundle, on photographs: gradients, transfer from another encoder, edits, patches.

python -m benchmarks.attack --root shared/data/photos --embeddings lite0_stages/photos.h5 --vae data/models/vae

A killed call goes on where it was, from the scores in ``--scores``.
"""

from pathlib import Path

import click
import pandas as pd

from aigid.core import manifest
from aigid.experiments import attack
from aigid.experiments.attack import AttackSettings
from aigid.experiments.attack_table import summarize
from aigid.prediction import DEFAULT_BUNDLE
from benchmarks import record


@click.command(help=__doc__)
@click.option("--root", type=Path, required=True, help="Folder of the dataset and its manifest.csv.")
@click.option("--embeddings", type=Path, required=True, help="Of the surrogate's encoder.")
@click.option("--vae", type=Path, required=True, help="Folder of the autoencoder that redraws photographs.")
@click.option("--model", type=Path, default=DEFAULT_BUNDLE, help="A bundle.  [default: the package's]")
@click.option("--images", default=60, show_default=True, help="Test images of each class.")
@click.option("--steps", default=3, show_default=True, help="Of PGD for each epsilon.")
@click.option("--scores", type=Path, required=True, help="Gets the scores of attacked images, a file for each batch.")
@record.out_option
def main(
    root: Path, embeddings: Path, vae: Path, model: Path, images: int, steps: int, scores: Path, out: Path
) -> None:
    path = root / "manifest.csv"
    table, chosen = manifest.read_to_learn(path), {"max_images": images, "steps": steps, "precision": "bfloat16"}
    settings = AttackSettings(backbone=embeddings.parent.name, dataset="photos", **chosen)
    scores.mkdir(parents=True, exist_ok=True)
    with attack.opened(model, vae, embeddings, (table, path, root), settings, 0) as run:
        for number, batch in enumerate(attack.batches(table, images, 0)):
            file = scores / f"{number:03}.csv"
            if not file.exists():
                run(batch).to_csv(file, index=False)
    files = sorted(scores.glob("*.csv"))
    rows = pd.concat([pd.read_csv(file, keep_default_na=False, na_values={"psnr": [""]}) for file in files])
    summary = summarize(rows.astype({"strength": str}), 0).round(4).assign(steps=steps)
    record.write_table("attack", summary.to_dict("records"), out)
    click.echo(summary[["source", "target", "attack", "strength", "images", "auroc", "wrong", "uncertain"]].to_string())


if __name__ == "__main__":
    main()
