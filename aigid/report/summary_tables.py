"""The tables of where detectors fail: per generator, source, view and further column, every cell already text."""

from collections.abc import Mapping

import pandas as pd

from aigid.evaluation import comparison
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics.calibration import Calibrator

NONE = "-"
BUILTIN_KINDS = ("all", "generator", "source")  # kinds of part that every judgement has
Judgements = Mapping[str, EvaluationResult]  # by detector, on one dataset


def by_generator(judgements: Judgements) -> pd.DataFrame:
    """One row per generator: AUROC against all reals, detector by detector."""
    return _by_group(judgements, "generator", "auroc", ["num_fake"])


def by_source(judgements: Judgements) -> pd.DataFrame:
    """One row per source of reals: the share called generated at 0.5, detector by detector."""
    return _by_group(judgements, "source", "fpr_05", ["num_real"])


def by_view(judgements: Judgements) -> pd.DataFrame:
    """One row per view, the headline first: AUROC over all generators and what it loses, detector by detector."""
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details[judgement.details["kind"] == "all"].set_index("view")
        rows = {judgement.view: {}, **rows} if judgement.view in table.index and judgement.view not in rows else rows
        for view, row in table.iterrows():
            lost = row["auroc"] - table["auroc"].get(judgement.view, float("nan"))
            drop = "" if view == judgement.view or pd.isna(lost) else f" ({lost:+.3f})"
            rows.setdefault(str(view), {})[detector] = with_interval(row, "auroc") + drop
    return _to_frame(rows, "view", judgements)


def by_columns(judgements: Judgements) -> dict[str, pd.DataFrame]:
    """For each further column that the scores were broken down by, such as size: AUROC, detector by detector."""
    kinds = dict.fromkeys(kind for judgement in judgements.values() for kind in judgement.details["kind"])
    return {
        f"AUROC by {kind}": _by_group(judgements, kind, "auroc", ["num_real", "num_fake"])
        for kind in kinds
        if kind not in BUILTIN_KINDS
    }


def with_interval(row: pd.Series, name: str) -> str:
    """``0.912 [0.898, 0.925]``, the number alone where there is no interval, or a dash."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return NONE
    return f"{value:.3f}" if pd.isna(low) else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _by_group(judgements: Judgements, kind: str, metric: str, counts: list[str]) -> pd.DataFrame:
    rows: dict[str, dict[str, str]] = {}
    for detector, judgement in judgements.items():
        table = judgement.details
        for _, row in table[(table["kind"] == kind) & (table["view"] == judgement.view)].iterrows():
            cells = rows.setdefault(row["name"], {"images": ""})
            num = " + ".join(str(row[count]) for count in counts)
            cells |= {detector: with_interval(row, metric), "images": _seen_unseen(cells["images"], num)}
    return _to_frame(dict(sorted(rows.items())), kind, ["images", *judgements])


def _seen_unseen(seen: str, num: str) -> str:
    """The count of images, or all counts where detectors were scored on different ones."""
    return num if not seen else "/".join(dict.fromkeys([*seen.split("/"), num]))


def _to_frame(rows: dict[str, dict[str, str]], name: str, columns: Mapping | list[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).fillna(NONE)
    return table.rename_axis(name).reset_index()


# The tables that people read: the detectors of one dataset side by side, every cell already text.


def headline_table(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: the headline metrics with their intervals, and the counts they rest on.

    Where the shallow cues were judged too, a column marks who does not beat them.
    """
    rows = pd.DataFrame([{"detector": name, **_verdict(judgement)} for name, judgement in judgements.items()])
    if comparison.SHALLOW in judgements:
        beats = [comparison.beats_shallow(judgements, name) for name in judgements]
        rows.insert(2, "beats shallow cues", beats)
    return rows


def missing_table(judgements: Judgements) -> list[str]:
    """One line per detector and reason: which metrics are missing because of it."""
    lines = []
    for detector, judgement in comparison.non_controls(judgements).items():
        reasons: dict[str, list[str]] = {}
        for name, reason in judgement.missing_metrics.items():
            reasons.setdefault(reason, []).append(name)
        lines += [f"{detector}: {reason}: no {', '.join(names)}" for reason, names in reasons.items()]
    return lines


def worst_errors_table(judgements: Judgements) -> pd.DataFrame:
    """The images that each detector scores most wrongly, three a class: ``detector, path, generator, score``."""
    rows = [pd.DataFrame(columns=["detector", "path", "generator", "score"])]
    for detector, judgement in comparison.non_controls(judgements).items():
        worst = judgement.worst_errors.groupby("label").head(3)
        rows.append(worst.assign(detector=detector, score=worst["score"].map("{:.3f}".format))[rows[0].columns])
    return pd.concat(rows, ignore_index=True)


def warnings(judgements: Judgements) -> list[str]:
    """What a leak betrays first of all, then one line per detector and warning."""
    own = [
        f"{detector}: {line}"
        for detector, judgement in comparison.non_controls(judgements).items()
        for line in judgement.warnings
    ]
    return comparison.control_warnings(judgements) + own


def calibrations(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: its calibrator, the validation images it was fitted on, the errors before and after."""
    rows = []
    for detector, judgement in comparison.non_controls(judgements).items():
        if judgement.deployment:
            calibrator, found = judgement.deployment.calibrator, judgement.metrics
            rows.append({"detector": detector, "calibrator": calibrator.kind, "fitted on": _population(calibrator)})
            for name, title in (("ece", "ECE"), ("brier", "Brier"), ("nll", "NLL")):
                rows[-1][title] = _delta(found, name, f"{name}_calibrated")
            rows[-1]["acc @0.5"] = _delta(found, "acc_05", "acc_calibrated")
    return pd.DataFrame(rows)


def operating_points(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: the threshold for the target FPR, what it promised, and what came of it."""
    titles = {
        "threshold": "operating_threshold",
        "FPR on val": "operating_fpr_val",
        "its 95 % bound": "operating_fpr_bound",
        "FPR on test": "operating_fpr",
        "TPR on test": "operating_tpr",
    }
    return _numbers(judgements, titles)


def abstention_table(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: of each class the shares that stay possible, are called wrongly, are left uncertain."""
    told = {"coverage": "covered", "wrong": "called wrongly", "uncertain": "uncertain"}
    titles = {f"{side}s {told[what]}": f"conformal_{what}_{side}" for side in ("real", "fake") for what in told}
    alphas = {
        name: judgement.deployment.abstainer.alpha for name, judgement in judgements.items() if judgement.deployment
    }
    table = _numbers(judgements, titles)
    if len(table):
        table.insert(1, "promised", [f"{1 - alphas[name]:g}" if name in alphas else NONE for name in table["detector"]])
    return table


def stability_table(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: how many verdicts at 0.5 flip between an image's views, and how far its scores spread."""
    titles = {"flips": "flip_rate", "reals": "flip_rate_real", "fakes": "flip_rate_fake", "spread": "score_spread"}
    return _numbers(judgements, titles)


def tables(judgements: Judgements, differences: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Every table below the verdicts that has a row, by title; ``differences`` as of ``comparison.compare_all``."""
    found = {} if differences is None else {"Differences, scored on the same images": _differences(differences)}
    found |= {
        "AUROC per generator": by_generator(judgements),
        "Reals called generated at 0.5, per source": by_source(judgements),
        "AUROC per view, and what it loses": by_view(comparison.non_controls(judgements)),
        **by_columns(judgements),
        "Verdicts at 0.5 that flip between an image's views": stability_table(judgements),
        "Calibration, before and after": calibrations(judgements),
        "Operating point for the target FPR, chosen on validation": operating_points(judgements),
        "Abstention: real, generated or uncertain": abstention_table(judgements),
        "Most wrongly scored images": worst_errors_table(judgements),
    }
    return {title: table for title, table in found.items() if len(table)}


def _verdict(judgement: EvaluationResult) -> dict[str, str]:
    table, found = judgement.details, judgement.metrics
    here = table[table["view"] == judgement.view]
    pooled, generators, sources = (here[here["kind"] == kind] for kind in ("all", "generator", "source"))
    row = _first_or_nan(pooled)
    others = table[(table["view"] != judgement.view) & (table["kind"] == "all") & table["auroc"].notna()]
    mean = others[["auroc", "auroc_low", "auroc_high"]].mean()  # views share their images, so errors go together
    return {
        "AUROC": with_interval(row, "auroc"),
        "AP": with_interval(row, "ap"),
        "acc @0.5": with_interval(row, "acc_05"),
        "acc @val": with_interval(row, "acc_val"),
        "acc @oracle": with_interval(row, "acc_oracle"),
        "TPR @5% FPR": with_interval(row, "tpr_at_fpr5"),
        "ECE": with_interval(row, "ece"),
        "worst generator": with_interval(_first_or_nan(generators.nsmallest(1, "auroc")), "auroc"),
        "worst source FPR": with_interval(_first_or_nan(sources.nlargest(1, "fpr_05")), "fpr_05"),
        "other views": with_interval(mean, "auroc") if len(others) else NONE,
        "reals": str(found.get("num_real", NONE)),
        "fakes": str(found.get("num_fake", NONE)),
        "unreadable": str(found["num_unreadable"]),
    }


def _first_or_nan(rows: pd.DataFrame) -> pd.Series:
    return rows.iloc[0] if len(rows) else pd.Series(None, rows.columns, dtype=float)


def _numbers(judgements: Judgements, titles: Mapping[str, str]) -> pd.DataFrame:
    """The metrics of each detector by title; detectors with none of them, and controls, are left out."""
    rows = []
    for detector, judgement in comparison.non_controls(judgements).items():
        cells = {title: f"{judgement.metrics[key]:.3f}" for title, key in titles.items() if key in judgement.metrics}
        if cells:
            rows.append({"detector": detector, **dict.fromkeys(titles, NONE), **cells})
    return pd.DataFrame(rows)


def _population(calibrator: Calibrator) -> str:
    about = calibrator.population
    groups, images = about["num_groups"], about["num_real"] + about["num_fake"]
    return f"{about['num_real']} + {about['num_fake']} images" + (f", {groups} independent" if groups < images else "")


def _delta(found: Mapping[str, float], before: str, after: str) -> str:
    return f"{found[before]:.3f} -> {found[after]:.3f}" if before in found and after in found else NONE


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    """A table of ``comparison.compare_all`` as text."""
    pairs = table["first"].astype("str") + " - " + table["second"].astype("str")
    values = [f"{d:+.3f} [{low:+.3f}, {high:+.3f}]" for d, low, high in table[["difference", "low", "high"]].to_numpy()]
    p = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p"]]
    return pd.DataFrame(
        {"pair": pairs, "metric": table["metric"], "difference": values, "p": p, "images": table["num_images"]}
    )
