"""False alarms of a bundle on edited photographs, at its operating point, by source and edit.

python -m benchmarks.benign_edits --root shared/data/photos [--model DIR]
"""

from pathlib import Path

import click
import pandas as pd

from aigid.core import manifest, scores
from aigid.evaluation.evaluate import evaluate
from aigid.prediction import DEFAULT_BUNDLE
from aigid.prediction.predict import Predictor, predict
from aigid.report import false_alarms
from benchmarks import record


def scored_rows(predictor: Predictor, images: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Return the rows of a scores file: the images as they are and in each edit, and the bundle's validation."""
    predictions = predict([predictor], [root / path for path in images["path"]], false_alarms.EDITS)
    rows = [
        {"path": row["path"], "label": 0, "generator": "real", "source": row["source"], "group": row["group"]}
        | {"split": "test", "status": prediction.status, "view": view, "score": prediction.scores.get(view)}
        for row, (prediction,) in zip(images.to_dict("records"), predictions, strict=True)
        for view in ("clean", *false_alarms.EDITS)
    ]
    validation = predictor.model.validation
    assert validation is not None, "a bundle without validation images has no operating point"
    return scores.check(pd.concat([pd.DataFrame(rows), validation]).fillna({"source": "", "group": "", "status": ""}))


@click.command(help=__doc__)
@click.option("--root", type=Path, required=True, help="Folder of the dataset and its manifest.csv.")
@click.option("--model", type=Path, default=DEFAULT_BUNDLE, help="A bundle.  [default: the package's]")
@record.out_option
def main(root: Path, model: Path, out: Path) -> None:
    images = manifest.read(root / "manifest.csv").query("split == 'test' and label == 0")
    predictor = Predictor(model)
    result = evaluate(scored_rows(predictor, images, root), n_bootstrap=0)
    (table,) = false_alarms.by_edit({predictor.model.name: result}).values()
    record.write_table("benign_edits", table.to_dict("records"), out)
    click.echo(table.to_string(index=False))


if __name__ == "__main__":
    main()
