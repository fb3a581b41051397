"""The report: every detector and dataset in one place, with what is missing and why."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pandas as pd

from aigid.core.files import write_text
from aigid.evaluation import results
from aigid.evaluation.comparison import CONTROLS
from aigid.evaluation.evaluate import EvaluationResult
from aigid.evaluation.results import Cell, Section
from aigid.report import figures, html, summary_tables
from aigid.report.formatting import latex, pipe_table
from aigid.report.html import thumbnails
from aigid.report.summary_tables import Judgements

READING = (
    "Every score is the probability that an image is generated. Brackets hold 95 % intervals: bootstrap over images "
    "(whole groups, within class) for AUROC, AP and TPR, Wilson for shares. 'acc @val' cuts where validation accuracy "
    "is highest, as a user can; 'acc @oracle' cuts where test accuracy is highest, which nobody knows in advance. "
    "'worst generator' has the lowest AUROC, 'worst source FPR' is the highest share of reals called generated at 0.5; "
    "'other views' is the mean AUROC over all views but the headline one. Rows named control_ must fail: they saw "
    "shuffled labels, random numbers, the file around the pixels, or shallow cues such as the mean colour."
)
PICTURES = ("roc", "generators")  # also as PNG, for a README


def write(
    root: Path | str,
    out: Path | str,
    wanted: Iterable[Cell] | None = None,
    alarms: Iterable[str] = (),
    facts: Mapping[str, str] | None = None,
    differences: Mapping[str, pd.DataFrame] | None = None,
    sections: Mapping[str, Section] | None = None,
    images: Mapping[str, Path] | None = None,
) -> None:
    """Write ``index.html``, ``table.md``, ``table.tex`` and ``figures/`` into ``out``, from what lies in ``root``.

    ``wanted`` names the detectors and datasets that must be there; InputError if one is not. ``alarms`` (the audit's
    warnings) stand on top; ``facts`` (command, seeds, hashes, versions) at the end; ``differences`` holds the table of
    ``comparison.compare_all`` by dataset; ``sections`` (the audits) follow the datasets; ``images`` holds the roots of
    those datasets whose images may be shown.
    """
    datasets, alarms, differences = by_dataset(results.read(root, wanted)), list(alarms), differences or {}
    sections, facts = sections or {}, {**(facts or {}), **provenance(datasets)}
    pictures = {
        name: thumbnails(summary_tables.worst_errors_table(datasets[name])["path"], root)
        for name, root in (images or {}).items()
    }
    write_text(Path(out, "index.html"), html.html(datasets, READING, alarms, facts, differences, sections, pictures))
    write_text(Path(out, "table.md"), markdown(datasets, alarms, differences, sections))
    tables = (latex(summary_tables.headline_table(judgements), dataset) for dataset, judgements in datasets.items())
    write_text(Path(out, "table.tex"), "\n\n".join(tables) + "\n")
    for dataset, judgements in datasets.items():
        for name in PICTURES:
            draw, _ = figures.FIGURES[name]
            figures.save(draw(judgements), Path(out, "figures", f"{dataset}-{name}.png"))


def provenance(datasets: Mapping[str, Judgements]) -> dict[str, str]:
    """What was judged, and by which versions of what."""
    own = {
        f"{detector} on {dataset}": "; ".join(f"{name} {value}" for name, value in judgement.run_info.items())
        for dataset, judgements in datasets.items()
        for detector, judgement in judgements.items()
    }
    versions = [f"{name} {version(name)}" for name in ("aigid", "numpy", "scipy", "pandas", "matplotlib")]
    return own | {"versions": f"Python {python_version()}, {', '.join(versions)}"}


def by_dataset(judgements: Mapping[Cell, EvaluationResult]) -> dict[str, Judgements]:
    """The judgements of each dataset by detector, both in alphabetical order, the controls last."""
    datasets: dict[str, dict[str, EvaluationResult]] = {}
    for (detector, dataset), judgement in sorted(
        judgements.items(), key=lambda cell: (cell[0][0] in CONTROLS, cell[0])
    ):
        datasets.setdefault(dataset, {})[detector] = judgement
    return dict(sorted(datasets.items()))


def markdown(
    datasets: Mapping[str, Judgements],
    alarms: Iterable[str] = (),
    differences: Mapping[str, pd.DataFrame] | None = None,
    sections: Mapping[str, Section] | None = None,
) -> str:
    """The report as Markdown."""
    parts = ["# How well the detectors do", *(f"> **Warning** {line}" for line in alarms), READING]
    for dataset, judgements in datasets.items():
        parts.append(f"## {dataset}")
        parts += [f"> **Warning** {line}" for line in summary_tables.warnings(judgements)]
        parts.append(pipe_table(summary_tables.headline_table(judgements)))
        tables = summary_tables.tables(judgements, (differences or {}).get(dataset))
        parts += [f"### {title}\n\n{pipe_table(table)}" for title, table in tables.items()]
        if lines := summary_tables.missing_table(judgements):
            parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in lines)]))
    for title, section in (sections or {}).items():
        parts += [f"## {title}", section.intro]
        parts += [f"### {name}\n\n{pipe_table(table)}" for name, table in section.tables.items()]
    return "\n\n".join(parts) + "\n"
