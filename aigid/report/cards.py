"""The model card of a detector: what it learnt from, how it does, how often it will accuse a photograph falsely."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from aigid.core.errors import InputError
from aigid.core.files import write_text
from aigid.evaluation import comparison, results
from aigid.evaluation.evaluate import EvaluationResult
from aigid.report import summary_tables
from aigid.report.formatting import pipe_table
from aigid.report.summary_tables import Judgements

DEMONSTRATION = "> **A demonstration of the machinery. Not for judging photographs.**"
PREVALENCES = (0.5, 0.1, 0.01)
IMAGES = 1000
THRESHOLDS = {"0.5": "05", "best on validation": "val", "for the target FPR": "operating"}
FALSE_POSITIVES = (
    f"Of {IMAGES:,} images, some share of them generated: how many photographs are accused, and how many of all "
    "accusations are wrong. From the test images' rates; other photographs, other rates."
)


def write(root: Path, models: Path, out: Path, detectors: Iterable[str], datasets: Iterable[str]) -> None:
    """Write ``<detector>.md`` for each, from the judgements below ``root`` and the bundles ``models/<detector>``."""
    detectors, datasets = list(detectors), list(datasets)
    judged = results.read(root)
    for name in detectors:
        path = models / name / "model.json"
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no bundle: {error}") from None
        own = {dataset: {it: judged[it, dataset] for it in (name, comparison.SHALLOW)} for dataset in datasets}
        write_text(out / f"{name}.md", markdown(name, about, own))


def markdown(name: str, about: Mapping[str, Any], judged: Mapping[str, Judgements]) -> str:
    """The card of a detector.

    ``about`` is its bundle's ``model.json``; ``judged`` holds, by dataset, its judgement and that of the shallow cues.
    """
    parts = [DEMONSTRATION] if about["origin"]["demonstration"] else []
    parts += [f"# Model card: {name}", *_components(about)]
    for dataset, judgements in judged.items():
        parts += [f"## On {dataset}", *_measured(name, judgements)]
    return "\n\n".join([*parts, *_reproduce(name, about)]) + "\n"


def false_positives_per_1000(metrics: Mapping[str, float]) -> pd.DataFrame:
    """Per threshold and prevalence, of ``IMAGES`` images: photographs accused, fakes found, accusations wrong."""
    rows = []
    for title, key in THRESHOLDS.items():
        if (rates := _rates(metrics, key)) is None:
            continue
        fpr, tpr = rates
        for share in PREVALENCES:
            wrong, right = fpr * IMAGES * (1 - share), tpr * IMAGES * share
            false = f"{wrong / (wrong + right):.1%}" if wrong + right else "no accusation"
            told = {"photographs accused": f"{wrong:.1f}", "fakes found": f"{right:.1f}", "of accusations wrong": false}
            rows.append(
                {"threshold": title, "FPR": f"{fpr:.3f}", "TPR": f"{tpr:.3f}", "generated": f"{share:.0%}"} | told
            )
    return pd.DataFrame(rows)


def _rates(metrics: Mapping[str, float], key: str) -> tuple[float, float] | None:
    """FPR and TPR on test at one of ``CUTS``."""
    if key == "operating":
        named, share = ("operating_fpr", "operating_tpr"), False
    else:
        named, share = (f"acc_real_{key}", f"acc_fake_{key}"), True
    if not set(named) <= set(metrics):
        return None
    first, tpr = (metrics[it] for it in named)
    return (1 - first if share else first), tpr


def _components(about: Mapping[str, Any]) -> list[str]:
    origin = about["origin"]
    training, backbones = origin["training"], origin["backbones"]
    towers = [part for backbone in backbones for part in backbone.get("parts", [backbone])]
    random = [", random weights" if it["config"] and not it["weights"] else "" for it in towers]
    named = [f"{it['library']} `{it['model']}`{how}" for it, how in zip(towers, random, strict=True)]
    lines = ["## Made of", f"- Training data: `{training['dataset']}`, manifest sha256 `{training['manifest_sha256']}`"]
    lines += [
        f"- Backbones: {'; '.join(named) or 'none; it sees images'}",
        *(f"- {line}" for line in origin["licences"]),
    ]
    counts = pd.DataFrame(training["images"]).fillna(0).astype(int).rename_axis("generator").reset_index()
    settings = json.dumps(about["settings"], indent=2)
    return [lines[0], "\n".join(lines[1:]), pipe_table(counts), f"Settings:\n\n```json\n{settings}\n```"]


def _measured(name: str, judgements: Judgements) -> list[str]:
    judgement = judgements[name]
    verdict = summary_tables.headline_table(judgements).set_index("detector").loc[name]
    facts = f"View `{judgement.view}`; {judgement.run_info['bootstrap draws']} bootstrap draws of whole groups."
    parts = [facts, pipe_table(verdict.rename_axis("metric").rename("value").reset_index())]
    if len(found := false_positives_per_1000(judgement.metrics)):
        parts += ["### False accusations to expect", FALSE_POSITIVES, pipe_table(found)]
    parts.append("### Where it fails")
    return [*parts, "\n".join(f"- {line}" for line in _limitations(name, judgements))]


def _limitations(name: str, judgements: Judgements) -> list[str]:
    """What is known to go wrong: its warnings, the worst generator, source and view, the worst images."""
    own = {name: judgements[name]}
    lines = [line.removeprefix(f"{name}: ") for line in summary_tables.warnings(judgements) if line.startswith(name)]
    lines += _worst(judgements[name])
    worst = summary_tables.worst_errors_table(own)
    lines += [f"`{row['path']}` ({row['generator']}) scores {row['score']}" for _, row in worst.iterrows()]
    return lines or ["nothing that these images show"]


def _worst(judgement: EvaluationResult) -> list[str]:
    rows, lines = judgement.details, []
    here = rows[rows["view"] == judgement.view]
    for kind, column, largest, what in (
        ("generator", "auroc", False, "the generator it sees least: {name}, AUROC {value:.3f}"),
        ("source", "fpr_05", True, "the photographs it accuses most: {name}, {value:.1%} of {num} at 0.5"),
    ):
        part = here[(here["kind"] == kind) & here[column].notna()].sort_values(column, ascending=not largest)
        if len(part):
            row = part.iloc[0]
            lines.append(what.format(name=row["name"], value=row[column], num=row["num_real"]))
    others = rows[(rows["kind"] == "all") & rows["auroc"].notna()].sort_values("auroc")
    if len(others) > 1:
        lines.append(f"the view that hides most: {others['view'].iloc[0]}, AUROC {others['auroc'].iloc[0]:.3f}")
    return lines


def _reproduce(name: str, about: Mapping[str, Any]) -> list[str]:
    code = about["code"]
    lines = [
        f"- `dvc repro evaluate@{name}` at the commit that holds this file",
        f"- aigid {code['aigid']}, sources of the detector sha256 `{code['sources_sha256']}`",
        f"- seed {about['origin']['seed']}",
        f"- the bundle's sha256 `{about['sha256']}`",
    ]
    return ["## How to make it again", "\n".join(lines)]
