"""The detectors on real photographs and 39 generators: all of test, what is in test alone, and images passed on.

python -m benchmarks.photos --scores data/scores --manifest data/manifests/photos.csv

Reads the scores files of a run of the preset `photos`. Generators and sources of ``test alone`` are in no other split.
Thresholds are those at 5 % FPR on validation photographs. Intervals are bootstraps over groups, of differences paired
ones.
"""

from pathlib import Path

import click
import pandas as pd
from rich.table import Table

from aigid.core import manifest, scores
from aigid.evaluation import subsets
from aigid.evaluation.comparison import compare
from aigid.metrics import classification
from aigid.metrics.classification import rank_rows
from aigid.metrics.intervals import Interval, auroc_intervals, group_names
from benchmarks import record

VIEWS = ("jpeg70", "blur1", "resize50", "repost")


def auroc(rows: pd.DataFrame) -> Interval:
    """With its interval over groups."""
    labels, values = rows["label"].to_numpy(), rows["score"].to_numpy()
    return auroc_intervals(labels, values, group_names(rows), 0)[""]


def ahead(best: pd.DataFrame, table: pd.DataFrame, images: pd.DataFrame) -> str:
    """The difference of AUROC on generators of test alone, ``best`` minus ``table``, with its paired interval."""
    parts = [dict(subsets.unseen_parts(rows[rows["split"] == "test"], images))[subsets.UNSEEN[0]]
             for rows in (best, table)]  # fmt: skip
    row = compare(*parts).set_index("metric").loc["auroc"]
    return f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"


def row(table: pd.DataFrame, images: pd.DataFrame) -> list[str]:
    """The cells of a detector."""
    test = {view: rows[rows["split"] == "test"] for view, rows in table.groupby("view")}
    clean, val = test["clean"], table[(table["split"] == "val") & (table["view"] == "clean")]
    threshold = classification.threshold_at_fpr(rank_rows(val), 0.05)
    ranking = rank_rows(clean)
    unseen = dict(subsets.unseen_parts(clean, images))
    return [
        *map(str, (auroc(val), auroc(clean), *(auroc(unseen[name]) for name in subsets.UNSEEN))),
        f"{classification.tpr_at_fpr(ranking, 0.05):.3f}",
        f"{1 - classification.real_accuracy(ranking, threshold):.3f}",
        f"{classification.fake_accuracy(ranking, threshold):.3f}",
        *(str(auroc(test[view])) if view in test else "" for view in VIEWS),
    ]


@click.command(help=__doc__)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <detector>/photos.csv.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--best", default="stacking", show_default=True, help="The detector that others are compared with.")
@record.out_option
def main(folder: Path, manifest_path: Path, best: str, out: Path) -> None:
    images = manifest.read(manifest_path)
    table = Table(
        *("detector", "validation", "test", "generators of test alone", f"{best} minus it there"),
        "generators and sources of test alone",
        *("TPR at 5 % FPR", "FPR at val's threshold", "TPR at val's threshold", *VIEWS),
        title=f"{len(images)} images; AUROC with 95 % intervals over groups",
    )
    tables = {path.parent.name: scores.read(path) for path in sorted(folder.glob("*/photos.csv"))}
    for name, rows in tables.items():
        cells = row(rows, images)
        table.add_row(name, *cells[:3], "" if name == best else ahead(tables[best], rows, images), *cells[3:])
    record.publish(table, "photos", out, width=240)


if __name__ == "__main__":
    main()
