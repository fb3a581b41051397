"""The tables that people read: the detectors of one dataset side by side, every cell already text."""

from collections.abc import Mapping

import pandas as pd

from aigid.evaluation import controls
from aigid.evaluation.judge import Judgement

NONE = "-"
Judgements = Mapping[str, Judgement]  # by detector, on one dataset


def verdicts(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: the headline metrics, with intervals where there are some, and the counts they rest on."""
    return pd.DataFrame([{"detector": name, **_verdict(judgement)} for name, judgement in judgements.items()])


def by_generator(judgements: Judgements) -> pd.DataFrame:
    """One row per generator: AUROC against all reals, detector by detector."""
    return _by_part(judgements, "generator", "auroc", "num_fake")


def by_source(judgements: Judgements) -> pd.DataFrame:
    """One row per source of reals: the share called generated at 0.5, detector by detector."""
    return _by_part(judgements, "source", "fpr_05", "num_real")


def by_view(judgements: Judgements) -> pd.DataFrame:
    """One row per view, the headline first: AUROC over all generators, detector by detector."""
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details[judgement.details["kind"] == "all"]
        rows = {judgement.view: {}, **rows} if judgement.view in set(table["view"]) - set(rows) else rows
        for _, row in table.iterrows():
            rows.setdefault(row["view"], {})[detector] = ranged(row, "auroc")
    return _framed(rows, "view", judgements)


def omissions(judgements: Judgements) -> list[str]:
    """One line per detector and reason: which metrics are missing because of it."""
    lines = []
    for detector, judgement in judgements.items():
        reasons: dict[str, list[str]] = {}
        for name, reason in judgement.omitted.items():
            reasons.setdefault(reason, []).append(name)
        lines += [f"{detector}: {reason}: no {', '.join(names)}" for reason, names in reasons.items()]
    return lines


def hardest(judgements: Judgements) -> pd.DataFrame:
    """The images that each detector scores most wrongly, three a class."""
    rows = [pd.DataFrame(columns=["detector", "path", "generator", "score"])]
    for detector, judgement in judgements.items():
        worst = judgement.hardest.groupby("label").head(3)
        rows.append(worst.assign(detector=detector, score=worst["score"].map("{:.3f}".format))[rows[0].columns])
    return pd.concat(rows, ignore_index=True)


def warnings(judgements: Judgements) -> list[str]:
    """What a leak betrays first of all, then one line per detector and warning."""
    own = [f"{detector}: {line}" for detector, judgement in judgements.items() for line in judgement.warnings]
    return controls.warnings(judgements) + own


def tables(judgements: Judgements, differences: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Every table below the verdicts that has a row, by title; ``differences`` as of ``comparison.compare_all``."""
    found = {} if differences is None else {"Differences, scored on the same images": _differences(differences)}
    found |= {
        "AUROC per generator": by_generator(judgements),
        "Reals called generated at 0.5, per source": by_source(judgements),
        "AUROC per view": by_view(judgements),
        "Most wrongly scored images": hardest(judgements),
    }
    return {title: table for title, table in found.items() if len(table)}


def ranged(row: pd.Series, name: str) -> str:
    """``0.912 [0.898, 0.925]``, the number alone where there is no interval, or a dash."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return NONE
    return f"{value:.3f}" if pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _verdict(judgement: Judgement) -> dict[str, str]:
    table, found = judgement.details, judgement.metrics
    pooled = table[(table["view"] == judgement.view) & (table["kind"] == "all")]
    row = pooled.iloc[0] if len(pooled) else pd.Series(None, table.columns, dtype=float)
    plain = {name: f"{value:.3f}" for name, value in found.items()}
    return {
        "AUROC": ranged(row, "auroc"),
        "AP": ranged(row, "ap"),
        "acc @0.5": ranged(row, "acc_05"),
        "acc @val": ranged(row, "acc_val"),
        "acc @oracle": plain.get("acc_oracle", NONE),
        "TPR @5% FPR": ranged(row, "tpr_at_fpr5"),
        "ECE": plain.get("ece", NONE),
        "worst generator": plain.get("worst_generator_auroc", NONE),
        "worst source FPR": plain.get("worst_source_fpr", NONE),
        "other views": plain.get("auroc_robust", NONE),
        "reals": str(found.get("num_real", NONE)),
        "fakes": str(found.get("num_fake", NONE)),
        "unreadable": str(found["num_unreadable"]),
    }


def _by_part(judgements: Judgements, kind: str, metric: str, count: str) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details
        for _, row in table[(table["kind"] == kind) & (table["view"] == judgement.view)].iterrows():
            cells = rows.setdefault(row["name"], {"images": ""})
            cells |= {detector: ranged(row, metric), "images": _both(cells["images"], str(row[count]))}
    return _framed(dict(sorted(rows.items())), kind, ["images", *judgements])


def _both(seen: str, num: str) -> str:
    """The count of images, or all counts where detectors were scored on different ones."""
    return num if not seen else "/".join(dict.fromkeys([*seen.split("/"), num]))


def _framed(rows: dict[str, dict[str, str]], name: str, columns: Mapping | list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).fillna(NONE)
    return table.rename_axis(name).reset_index()


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    """A table of ``comparison.compare_all`` as text."""
    pairs = table["first"].astype("str") + " - " + table["second"].astype("str")
    values = [f"{d:+.3f} [{low:+.3f}, {high:+.3f}]" for d, low, high in table[["difference", "low", "high"]].to_numpy()]
    p = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p"]]
    return pd.DataFrame(
        {"pair": pairs, "metric": table["metric"], "difference": values, "p": p, "images": table["num_images"]}
    )
