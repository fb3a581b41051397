"""The tables that people read: the detectors of one dataset side by side, every cell already text."""

from collections.abc import Mapping

import pandas as pd

from aigid.evaluation import controls, parts
from aigid.evaluation.calibrators import Calibrator
from aigid.evaluation.judge import Judgement
from aigid.evaluation.parts import NONE, Judgements, ranged


def verdicts(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: the headline metrics with their intervals, and the counts they rest on.

    Where the shallow cues were judged too, a column marks who does not beat them.
    """
    rows = pd.DataFrame([{"detector": name, **_verdict(judgement)} for name, judgement in judgements.items()])
    if controls.SHALLOW in judgements:
        beats = [controls.beats_shallow(judgements, name) for name in judgements]
        rows.insert(2, "beats shallow cues", beats)
    return rows


def omissions(judgements: Judgements) -> list[str]:
    """One line per detector and reason: which metrics are missing because of it."""
    lines = []
    for detector, judgement in controls.others(judgements).items():
        reasons: dict[str, list[str]] = {}
        for name, reason in judgement.missing_metrics.items():
            reasons.setdefault(reason, []).append(name)
        lines += [f"{detector}: {reason}: no {', '.join(names)}" for reason, names in reasons.items()]
    return lines


def hardest(judgements: Judgements) -> pd.DataFrame:
    """The images that each detector scores most wrongly, three a class: ``detector, path, generator, score``."""
    rows = [pd.DataFrame(columns=["detector", "path", "generator", "score"])]
    for detector, judgement in controls.others(judgements).items():
        worst = judgement.hardest.groupby("label").head(3)
        rows.append(worst.assign(detector=detector, score=worst["score"].map("{:.3f}".format))[rows[0].columns])
    return pd.concat(rows, ignore_index=True)


def warnings(judgements: Judgements) -> list[str]:
    """What a leak betrays first of all, then one line per detector and warning."""
    own = [
        f"{detector}: {line}"
        for detector, judgement in controls.others(judgements).items()
        for line in judgement.warnings
    ]
    return controls.warnings(judgements) + own


def calibrations(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: its calibrator, the validation images it was fitted on, the errors before and after."""
    rows = []
    for detector, judgement in controls.others(judgements).items():
        if judgement.deployment:
            calibrator, found = judgement.deployment.calibrator, judgement.metrics
            rows.append({"detector": detector, "calibrator": calibrator.kind, "fitted on": _population(calibrator)})
            for name, title in (("ece", "ECE"), ("brier", "Brier"), ("nll", "NLL")):
                rows[-1][title] = _change(found, name, f"{name}_calibrated")
            rows[-1]["acc @0.5"] = _change(found, "acc_05", "acc_calibrated")
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


def abstentions(judgements: Judgements) -> pd.DataFrame:
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


def stabilities(judgements: Judgements) -> pd.DataFrame:
    """One row per detector: how many verdicts at 0.5 flip between an image's views, and how far its scores spread."""
    titles = {"flips": "flip_rate", "reals": "flip_rate_real", "fakes": "flip_rate_fake", "spread": "score_spread"}
    return _numbers(judgements, titles)


def tables(judgements: Judgements, differences: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Every table below the verdicts that has a row, by title; ``differences`` as of ``comparison.compare_all``."""
    found = {} if differences is None else {"Differences, scored on the same images": _differences(differences)}
    found |= {
        "AUROC per generator": parts.by_generator(judgements),
        "Reals called generated at 0.5, per source": parts.by_source(judgements),
        "AUROC per view, and what it loses": parts.by_view(controls.others(judgements)),
        **parts.by_columns(judgements),
        "Verdicts at 0.5 that flip between an image's views": stabilities(judgements),
        "Calibration, before and after": calibrations(judgements),
        "Operating point for the target FPR, chosen on validation": operating_points(judgements),
        "Abstention: real, generated or uncertain": abstentions(judgements),
        "Most wrongly scored images": hardest(judgements),
    }
    return {title: table for title, table in found.items() if len(table)}


def _verdict(judgement: Judgement) -> dict[str, str]:
    table, found = judgement.details, judgement.metrics
    here = table[table["view"] == judgement.view]
    pooled, generators, sources = (here[here["kind"] == kind] for kind in ("all", "generator", "source"))
    row = _first(pooled)
    others = table[(table["view"] != judgement.view) & (table["kind"] == "all") & table["auroc"].notna()]
    mean = others[["auroc", "auroc_low", "auroc_high"]].mean()  # views share their images, so errors go together
    return {
        "AUROC": ranged(row, "auroc"),
        "AP": ranged(row, "ap"),
        "acc @0.5": ranged(row, "acc_05"),
        "acc @val": ranged(row, "acc_val"),
        "acc @oracle": ranged(row, "acc_oracle"),
        "TPR @5% FPR": ranged(row, "tpr_at_fpr5"),
        "ECE": ranged(row, "ece"),
        "worst generator": ranged(_first(generators.nsmallest(1, "auroc")), "auroc"),
        "worst source FPR": ranged(_first(sources.nlargest(1, "fpr_05")), "fpr_05"),
        "other views": ranged(mean, "auroc") if len(others) else NONE,
        "reals": str(found.get("num_real", NONE)),
        "fakes": str(found.get("num_fake", NONE)),
        "unreadable": str(found["num_unreadable"]),
    }


def _first(rows: pd.DataFrame) -> pd.Series:
    return rows.iloc[0] if len(rows) else pd.Series(None, rows.columns, dtype=float)


def _numbers(judgements: Judgements, titles: Mapping[str, str]) -> pd.DataFrame:
    """The metrics of each detector by title; detectors with none of them, and controls, are left out."""
    rows = []
    for detector, judgement in controls.others(judgements).items():
        cells = {title: f"{judgement.metrics[key]:.3f}" for title, key in titles.items() if key in judgement.metrics}
        if cells:
            rows.append({"detector": detector, **dict.fromkeys(titles, NONE), **cells})
    return pd.DataFrame(rows)


def _population(calibrator: Calibrator) -> str:
    about = calibrator.population
    groups, images = about["num_groups"], about["num_real"] + about["num_fake"]
    return f"{about['num_real']} + {about['num_fake']} images" + (f", {groups} independent" if groups < images else "")


def _change(found: Mapping[str, float], before: str, after: str) -> str:
    return f"{found[before]:.3f} -> {found[after]:.3f}" if before in found and after in found else NONE


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    """A table of ``comparison.compare_all`` as text."""
    pairs = table["first"].astype("str") + " - " + table["second"].astype("str")
    values = [f"{d:+.3f} [{low:+.3f}, {high:+.3f}]" for d, low, high in table[["difference", "low", "high"]].to_numpy()]
    p = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p"]]
    return pd.DataFrame(
        {"pair": pairs, "metric": table["metric"], "difference": values, "p": p, "images": table["num_images"]}
    )
