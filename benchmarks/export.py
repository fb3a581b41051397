"""Bundles as ONNX files against themselves on validation photographs: difference of P(generated), verdicts, AUROC.

python -m benchmarks.export --root shared/data/photos [MODEL...]
"""

import tempfile
from pathlib import Path
from typing import get_args

import click
import pandas as pd

from aigid.core import manifest
from aigid.prediction import DEFAULT_BUNDLE, export
from aigid.prediction.exported import Precision
from aigid.prediction.predict import Predictor
from benchmarks import record


@click.command(help=__doc__)
@click.option("--root", type=Path, required=True, help="Folder of the dataset and its manifest.csv.")
@click.option("--num", default=300, help="Validation images, half of them real.")
@click.argument("models", metavar="[MODEL...]", nargs=-1, type=Path)
@record.out_option
def main(root: Path, num: int, models: tuple[Path, ...], out: Path) -> None:
    rows = manifest.read(root / "manifest.csv").query("split == 'val'").sort_values("group")
    images = pd.concat([rows[rows["label"] == label].head(num // 2) for label in (0, 1)])
    labels = {str(root / path): int(label) for path, label in zip(images["path"], images["label"], strict=True)}
    table = []
    for model in models or (DEFAULT_BUNDLE,):
        predictor = Predictor(model)
        for precision in get_args(Precision) if model == DEFAULT_BUNDLE else ("float32",):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                written, failed = export.export(predictor, path, list(labels), precision, labels)
                assert not failed, failed
                table.append(
                    {"detector": predictor.model.name, "precision": precision, "images": written.num_images}
                    | {"largest difference of P(generated)": f"{written.parity:.1g}"}
                    | {"other verdicts": written.other_verdicts, "AUROC of the bundle": f"{written.auroc[0]:.4f}"}
                    | {"AUROC of the file": f"{written.auroc[1]:.4f}", "MB": round(path.stat().st_size / 1e6)}
                )
    record.write_table("export", table, out)
    click.echo(pd.DataFrame(table).to_string(index=False))


if __name__ == "__main__":
    main()
