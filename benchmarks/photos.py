"""The detectors on real photographs and 39 generators: all of test, what is in test alone, and images passed on.

python -m benchmarks.photos --scores data/scores --manifest data/manifests/photos.csv

Reads the scores files of a run of the preset `photos`. Generators and sources of ``test alone`` are in no other split.
Thresholds are those at 5 % FPR on validation photographs. Intervals are bootstraps over groups, of differences paired
ones. A second table sets what papers claim beside the differences seen here, of folders <detector>_s<seed> their mean
over seeds, which the interval draws too; of these the first table shows seed 0.
"""

import re
from pathlib import Path

import click
import pandas as pd
from rich.table import Table

from aigid.core import manifest, scores
from aigid.evaluation import subsets
from aigid.evaluation.comparison import compare
from aigid.metrics import classification
from aigid.metrics.classification import rank_rows
from aigid.metrics.intervals import Interval, auroc_intervals, group_names, num_independent
from aigid.report.figures import heat_map, save
from benchmarks import record
from benchmarks.gendet_ablation import auroc_draws, interval

VIEWS = ("jpeg70", "blur1", "resize50", "repost")
CLAIMS = (  # what is claimed, the detector of which, and what it is compared with
    ("GenDet, Table 5: the student's discrepancy beats the teacher's own head", "gendet", "gendet_teacher"),
    ("GenDet: what is learnt beats an untrained student", "gendet", "gendet_untrained"),
    ("NYCU: an SVM on CLIP ranks photographs passed on better than the network", "svm", "cnn"),
    ("NYCU: an SVM on CLIP beats OCC-CLIP", "svm", "occ"),
    ("SEF: a gate over encoders beats their concatenation", "gate", "concatenation"),
    ("SEF: a gate over encoders beats the mean of what each says", "gate", "averaging"),
    (
        "FeatDistill: experts of degraded images beat those of clean ones",
        "featdistill",
        "featdistill_clean",
    ),
    ("FeatDistill: stage 2 held to features beats as many epochs without", "featdistill", "featdistill_undistilled"),
    ("A second encoder adds to CLIP's inner blocks", "stacking_lite0", "stacking"),
)


def auroc(rows: pd.DataFrame) -> Interval:
    """With its interval over groups."""
    labels, values = rows["label"].to_numpy(), rows["score"].to_numpy()
    return auroc_intervals(labels, values, group_names(rows), 0)[""]


def value(rows: pd.DataFrame) -> float:
    """AUROC alone."""
    return classification.auroc(rank_rows(rows))


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


def parts(rows: pd.DataFrame, images: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Test, its generators of test alone, and what was passed on, by path."""
    test = rows[rows["split"] == "test"].sort_values("path")
    clean = test[test["view"] == "clean"]
    unseen = dict(subsets.unseen_parts(clean, images))[subsets.UNSEEN[0]]
    return {"test": clean, "generators of test alone": unseen, "repost": test[test["view"] == "repost"]}


def difference(pairs: list[tuple[pd.DataFrame, pd.DataFrame]]) -> str:
    """AUROC of the first minus that of the second, the mean over seeds, with its interval over groups and seeds."""
    if any(part.empty for pair in pairs for part in pair):
        return ""
    draws = [[auroc_draws(part["label"].to_numpy(), part["score"].to_numpy(), group_names(part)) for part in side]
             for side in zip(*pairs, strict=True)]  # fmt: skip
    mean = sum(value(first) - value(second) for first, second in pairs) / len(pairs)
    rows = pairs[0][0]
    low, high = interval(*draws, num_independent(rows["label"].to_numpy(), group_names(rows)))
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def claims(tables: dict[str, pd.DataFrame], images: pd.DataFrame) -> Table:
    """Each claim whose two detectors were run."""
    table = Table("claim", "first", "second", "seeds", "test", "generators of test alone", "repost",
                  title="first minus second: AUROC with 95 % intervals over groups and seeds")  # fmt: skip
    for text, *names in CLAIMS:
        runs = [[parts(rows, images) for key, rows in tables.items() if re.fullmatch(rf"{name}(_s\d+)?", key)]
                for name in names]  # fmt: skip
        num = max(map(len, runs)) if all(runs) else 0
        if num:
            pairs = list(zip(*(side * (num // len(side)) for side in runs), strict=True))
            cells = [difference([(first[key], second[key]) for first, second in pairs]) for key in pairs[0][0]]
            table.add_row(text, *names, str(num), *cells)
    return table


def columns(rows: pd.DataFrame, images: pd.DataFrame, min_images: int = 8) -> dict[str, float]:
    """AUROC on test, its parts, its views, and its generators of at least ``min_images`` images."""
    test = rows[rows["split"] == "test"]
    clean = test[test["view"] == "clean"]
    sizes = clean.loc[clean["label"] == 1, "generator"].value_counts()
    named = {
        "all of test": clean,
        **{f"{name} of test alone": part for name, part in subsets.unseen_parts(clean, images)},
    }
    named |= {view: test[test["view"] == view] for view in VIEWS}
    named |= {name: clean[(clean["label"] == 0) | (clean["generator"] == name)]
              for name in sorted(sizes[sizes >= min_images].index)}  # fmt: skip
    return {name: value(part) for name, part in named.items() if part["label"].nunique() == 2}


@click.command(help=__doc__)
@click.option("--scores", "folder", type=Path, required=True, help="Folder of <detector>/photos.csv.")
@click.option("--manifest", "manifest_path", type=Path, required=True)
@click.option("--best", default="stacking", show_default=True, help="The detector that others are compared with.")
@click.option("--figure", type=Path, help="PNG that gets a heat map of AUROC.")
@record.out_option
def main(folder: Path, manifest_path: Path, best: str, figure: Path | None, out: Path) -> None:
    images = manifest.read(manifest_path)
    table = Table(
        *("detector", "validation", "test", "generators of test alone", f"{best} minus it there"),
        "generators and sources of test alone",
        *("TPR at 5 % FPR", "FPR at val's threshold", "TPR at val's threshold", *VIEWS),
        title=f"{len(images)} images; AUROC with 95 % intervals over groups; seed 0 where several were trained",
    )
    tables = {path.parent.name: scores.read(path) for path in sorted(folder.glob("*/photos.csv"))}
    first_seeds = {
        name.removesuffix("_s0"): rows for name, rows in tables.items() if not re.search(r"_s[1-9]\d*$", name)
    }
    for name, rows in first_seeds.items():
        cells = row(rows, images)
        table.add_row(name, *cells[:3], "" if name == best else ahead(tables[best], rows, images), *cells[3:])
    record.publish(table, "photos", out, width=240)
    record.publish(claims(tables, images), "photos_claims", out, width=240)
    if figure is not None:
        cells = pd.DataFrame({name: columns(rows, images) for name, rows in first_seeds.items()}).T
        save(heat_map(cells.sort_values("all of test", ascending=False)), figure)


if __name__ == "__main__":
    main()
