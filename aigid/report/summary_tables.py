"""Tables for readers: the detectors of one dataset side by side, every cell text; as Markdown, on a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from rich.console import Console

from aigid.core.console import print_tables
from aigid.evaluation.comparison import SHALLOW, Results, beats_shallow, control_warnings, non_controls
from aigid.evaluation.evaluate import EvaluationResult
from aigid.metrics.intervals import Interval
from aigid.report import risks

NONE = "-"
BUILTIN_KINDS = ("all", "generator", "source", "unseen")  # kinds of part that have tables of their own
PER_GENERATOR, PER_SOURCE = "AUROC per generator", "Reals called generated at 0.5, per source"
MIN_IMAGES = 10  # of a generator or source that may be called the worst


def by_view(results: Results) -> pd.DataFrame:
    """Return one row per view, the headline first: AUROC over all generators and its change, detector by detector."""
    rows: dict[str, dict[str, str]] = {}
    for detector, result in results.items():
        table = result.details[result.details["kind"] == "all"].set_index("view")
        rows = {result.view: {}, **rows} if result.view in table.index and result.view not in rows else rows
        for view, row in table.iterrows():
            change = row["auroc"] - table["auroc"].get(result.view, float("nan"))
            suffix = "" if view == result.view or pd.isna(change) else f" ({change:+.3f})"
            rows.setdefault(str(view), {})[detector] = with_interval(row, "auroc") + suffix
    return _to_frame(rows, "view", results)


def by_columns(results: Results) -> dict[str, pd.DataFrame]:
    """Return, for each further column that the scores were broken down by, such as size, the AUROC by detector."""
    kinds = dict.fromkeys(kind for result in results.values() for kind in result.details["kind"])
    return {
        f"AUROC by {kind}": _by_group(results, kind, "auroc", "num_real", "num_fake")
        for kind in kinds
        if kind not in BUILTIN_KINDS
    }


def by_part(results: Results) -> dict[str, dict[str, pd.DataFrame]]:
    """Return, for each view, the headline first, AUROC by generator, all of them first, and the FPR by source.

    Those that would be empty are left out.
    """
    headlines = [result.view for result in results.values()]
    views = dict.fromkeys([*headlines, *(view for result in results.values() for view in result.details["view"])])
    by_name = {}
    for view in filter(None, views):
        pooled = _by_group(results, "all", "auroc", "num_fake", view=view)
        generators = _by_group(results, "generator", "auroc", "num_fake", view=view)
        generators = pd.concat([pooled.rename(columns={"all": "generator"}), generators], ignore_index=True)
        titled = {PER_GENERATOR: generators, PER_SOURCE: _by_group(results, "source", "fpr_05", "num_real", view=view)}
        by_name[view] = {title: table for title, table in titled.items() if len(table)}
    return by_name


def with_interval(row: pd.Series | Mapping[Any, Any], name: str) -> str:
    """Return ``0.912 [0.898, 0.925]``, the number alone where there is no interval, or a dash."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return NONE
    return f"{value:.3f}" if pd.isna(low) else str(Interval(value, low, high))


def _by_group(results: Results, kind: str, metric: str, *counts: str, view: str | None = None) -> pd.DataFrame:
    """Return one row per part of a kind: the images, all counts where detectors had different ones, and a metric.

    ``view`` is the headline's unless named.
    """
    rows: dict[str, dict[str, str]] = {}
    for detector, result in results.items():
        for row in result.parts(kind, view).to_dict("records"):
            cells = rows.setdefault(row["name"], {"images": ""})
            nums = [*cells["images"].split("/"), " + ".join(str(row[count]) for count in counts)]
            cells |= {detector: with_interval(row, metric), "images": "/".join(dict.fromkeys(filter(None, nums)))}
    return _to_frame(dict(sorted(rows.items())), kind, ["images", *results])


def _to_frame(rows: dict[str, dict[str, str]], name: str, columns: Iterable[str]) -> pd.DataFrame:
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(columns)).fillna(NONE)
    return table.rename_axis(name).reset_index()


def headline_table(results: Results) -> pd.DataFrame:
    """Return one row per detector: the headline metrics with their intervals, and the counts.

    Where the shallow cues were evaluated too, a column marks who does not beat them.
    """
    rows = pd.DataFrame([{"detector": name, **_headline(result)} for name, result in results.items()])
    if SHALLOW in results:
        rows.insert(2, "beats shallow cues", [beats_shallow(results, name) for name in results])
    return rows


def missing_table(results: Results) -> list[str]:
    """Return one line per detector and reason: which metrics are missing because of it."""
    lines = []
    for detector, result in non_controls(results).items():
        reasons: dict[str, list[str]] = {}
        for name, reason in result.missing_metrics.items():
            reasons.setdefault(reason, []).append(name)
        lines += [f"{detector}: {reason}: no {', '.join(names)}" for reason, names in reasons.items()]
    return lines


def worst_errors_table(results: Results) -> pd.DataFrame:
    """Return the images that each detector scores most wrongly, three a class: ``detector, path, generator, score``."""
    rows = [pd.DataFrame(columns=["detector", "path", "generator", "score"])]
    for detector, result in non_controls(results).items():
        worst = result.worst_errors.groupby("label").head(3)
        rows.append(worst.assign(detector=detector, score=worst["score"].map("{:.3f}".format))[rows[0].columns])
    return pd.concat(rows, ignore_index=True)


def warnings(results: Results) -> list[str]:
    """Return the warnings of the controls first, then one line per detector and warning."""
    lines = [f"{name}: {line}" for name, result in non_controls(results).items() for line in result.warnings]
    return control_warnings(results) + lines


def calibrations(results: Results) -> pd.DataFrame:
    """Return one row per detector: its calibrator, the images it was fitted on, the errors before and after."""
    titles = {name: (name.lower(), f"{name.lower()}_calibrated") for name in ("ECE", "Brier", "NLL")}
    titles["acc @0.5"] = "acc_05", "acc_calibrated"
    rows = []
    for detector, result in non_controls(results).items():
        if result.deployment:
            calibrator, metrics = result.deployment.calibrator, result.metrics
            rows.append({"detector": detector, "calibrator": calibrator.kind})
            rows[-1]["fitted on"] = _population(calibrator.population)
            for title, keys in titles.items():
                values = [metrics[key] for key in keys if key in metrics]
                rows[-1][title] = " -> ".join(f"{value:.3f}" for value in values) if len(values) == 2 else NONE
    return pd.DataFrame(rows)


def abstention_table(results: Results) -> pd.DataFrame:
    """Return one row per detector: of each class the shares that stay possible, are called wrongly, are uncertain."""
    words = {"coverage": "covered", "wrong": "called wrongly", "uncertain": "uncertain"}
    titles = {f"{side}s {words[what]}": f"conformal_{what}_{side}" for side in ("real", "fake") for what in words}
    alphas = {name: result.deployment.abstainer.alpha for name, result in results.items() if result.deployment}
    table = _numbers(results, titles)
    if len(table):
        table.insert(1, "promised", [f"{1 - alphas[name]:g}" if name in alphas else NONE for name in table["detector"]])
    return table


GIVEN = {"threshold": "threshold_given", "accuracy": "acc_given", "balanced": "balanced_acc_given"} | {
    f"{rate.upper()}{title}": f"{rate}_given{end}"
    for rate in ("fpr", "tpr")
    for title, end in (("", ""), (" from", "_low"), (" to", "_high"))
}
OPERATING_POINT = {
    "threshold": "operating_threshold",
    "FPR on val": "operating_fpr_val",
    "its 95 % bound": "operating_fpr_bound",
    "FPR on test": "operating_fpr",
    "TPR on test": "operating_tpr",
}
STABILITY = {"flips": "flip_rate", "reals": "flip_rate_real", "fakes": "flip_rate_fake", "spread": "score_spread"}


def tables(results: Results, differences: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Return every table below the headline that has a row, by title; ``differences`` as of ``compare_all``."""
    titled = {} if differences is None else {"Differences, scored on the same images": _differences(differences)}
    titled |= {
        "AUROC on what is in test alone": _by_group(results, "unseen", "auroc", "num_real", "num_fake"),
        PER_GENERATOR: _by_group(results, "generator", "auroc", "num_fake"),
        PER_SOURCE: _by_group(results, "source", "fpr_05", "num_real"),
        "AUROC per view, and what it loses": by_view(non_controls(results)),
        **by_columns(results),
        **risks.by_edit(results),
        "Verdicts at 0.5 that flip between an image's views": _numbers(results, STABILITY),
        "Calibration, before and after": calibrations(results),
        "Operating point for the target FPR, chosen on validation": _numbers(results, OPERATING_POINT),
        "At the threshold that was given": _numbers(results, GIVEN),
        "Abstention: real, generated or uncertain": abstention_table(results),
        "Most wrongly scored images": worst_errors_table(results),
    }
    return {title: table for title, table in titled.items() if len(table)}


def _headline(result: EvaluationResult) -> dict[str, str]:
    table, metrics = result.details, result.metrics
    row = _first_or_nan(result.parts("all"))
    others = table[(table["view"] != result.view) & (table["kind"] == "all") & table["auroc"].notna()]
    mean = others[["auroc", "auroc_low", "auroc_high"]].mean()  # views share their images, so errors go together
    columns = {"AUROC": "auroc", "AP": "ap", "acc @0.5": "acc_05", "acc @val": "acc_val", "acc @oracle": "acc_oracle"}
    columns |= {"TPR @5% FPR": "tpr_at_fpr5", "ECE": "ece"}
    return {
        **{title: with_interval(row, name) for title, name in columns.items()},
        "worst generator": with_interval(_first_or_nan(worst_groups(result, "generator")), "auroc"),
        "worst source FPR": with_interval(_first_or_nan(worst_groups(result, "source")), "fpr_05"),
        "other views": with_interval(mean, "auroc") if len(others) else NONE,
        "reals": str(metrics.get("num_real", NONE)),
        "fakes": str(metrics.get("num_fake", NONE)),
        "unreadable": str(metrics["num_unreadable"]),
    }


def worst_groups(result: EvaluationResult, kind: str) -> pd.DataFrame:
    """Return the generators by AUROC, or the sources by falling FPR at 0.5, that have ``MIN_IMAGES`` images."""
    count, column = {"generator": ("num_fake", "auroc"), "source": ("num_real", "fpr_05")}[kind]
    rows = result.parts(kind).dropna(subset=column)
    return rows[rows[count] >= MIN_IMAGES].sort_values(column, ascending=kind == "generator", kind="stable")


def _first_or_nan(rows: pd.DataFrame) -> pd.Series:
    return rows.iloc[0] if len(rows) else pd.Series(None, rows.columns, dtype=float)


def _numbers(results: Results, titles: Mapping[str, str]) -> pd.DataFrame:
    """Return the metrics of each detector by title; detectors with none of them, and controls, are left out."""
    rows = []
    for detector, result in non_controls(results).items():
        cells = {title: f"{result.metrics[key]:.3f}" for title, key in titles.items() if key in result.metrics}
        if cells:
            rows.append({"detector": detector, **dict.fromkeys(titles, NONE), **cells})
    return pd.DataFrame(rows)


def _population(counts: Mapping[str, Any]) -> str:
    groups, images = counts["num_groups"], counts["num_real"] + counts["num_fake"]
    independent = f", {groups} independent" if groups < images else ""
    return f"{counts['num_real']} + {counts['num_fake']} images{independent}"


def _differences(table: pd.DataFrame) -> pd.DataFrame:
    pairs = table["first"].astype("str") + " - " + table["second"].astype("str")
    values = [f"{d:+.3f} [{low:+.3f}, {high:+.3f}]" for d, low, high in table[["difference", "low", "high"]].to_numpy()]
    p = ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p"]]
    columns = {"pair": pairs, "metric": table["metric"], "difference": values, "p": p, "images": table["num_images"]}
    return pd.DataFrame(columns)


def show(results: Results, console: Console, differences: pd.DataFrame | None = None) -> None:
    """Print the headline of each detector, the tables, what is missing and every warning."""
    for line in warnings(results):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    headline = headline_table(results).set_index("detector").T.rename_axis("").reset_index()
    print_tables({"": headline, **tables(results, differences)}, console)
    for line in missing_table(results):
        console.print(f"left out: {line}", style="dim", markup=False, highlight=False)
