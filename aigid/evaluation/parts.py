"""The tables of where detectors fail: per generator, source, view and further column, every cell already text."""

from collections.abc import Mapping

import pandas as pd

from aigid.evaluation.judge import Judgement

NONE = "-"
OWN = ("all", "generator", "source")  # kinds of part that every judgement has
Judgements = Mapping[str, Judgement]  # by detector, on one dataset


def by_generator(judgements: Judgements) -> pd.DataFrame:
    """One row per generator: AUROC against all reals, detector by detector."""
    return _by_part(judgements, "generator", "auroc", ["num_fake"])


def by_source(judgements: Judgements) -> pd.DataFrame:
    """One row per source of reals: the share called generated at 0.5, detector by detector."""
    return _by_part(judgements, "source", "fpr_05", ["num_real"])


def by_view(judgements: Judgements) -> pd.DataFrame:
    """One row per view, the headline first: AUROC over all generators and what it loses, detector by detector."""
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details[judgement.details["kind"] == "all"].set_index("view")
        rows = {judgement.view: {}, **rows} if judgement.view in table.index and judgement.view not in rows else rows
        for view, row in table.iterrows():
            lost = row["auroc"] - table["auroc"].get(judgement.view, float("nan"))
            drop = "" if view == judgement.view or pd.isna(lost) else f" ({lost:+.3f})"
            rows.setdefault(str(view), {})[detector] = ranged(row, "auroc") + drop
    return _framed(rows, "view", judgements)


def by_columns(judgements: Judgements) -> dict[str, pd.DataFrame]:
    """For each further column that the scores were broken down by, such as size: AUROC, detector by detector."""
    kinds = dict.fromkeys(kind for judgement in judgements.values() for kind in judgement.details["kind"])
    return {
        f"AUROC by {kind}": _by_part(judgements, kind, "auroc", ["num_real", "num_fake"])
        for kind in kinds
        if kind not in OWN
    }


def ranged(row: pd.Series, name: str) -> str:
    """``0.912 [0.898, 0.925]``, the number alone where there is no interval, or a dash."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return NONE
    return f"{value:.3f}" if pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _by_part(judgements: Judgements, kind: str, metric: str, counts: list[str]) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details
        for _, row in table[(table["kind"] == kind) & (table["view"] == judgement.view)].iterrows():
            cells = rows.setdefault(row["name"], {"images": ""})
            num = " + ".join(str(row[count]) for count in counts)
            cells |= {detector: ranged(row, metric), "images": _both(cells["images"], num)}
    return _framed(dict(sorted(rows.items())), kind, ["images", *judgements])


def _both(seen: str, num: str) -> str:
    """The count of images, or all counts where detectors were scored on different ones."""
    return num if not seen else "/".join(dict.fromkeys([*seen.split("/"), num]))


def _framed(rows: dict[str, dict[str, str]], name: str, columns: Mapping | list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).fillna(NONE)
    return table.rename_axis(name).reset_index()
