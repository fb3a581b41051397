"""The report: every detector and dataset on one page, with what is missing and why."""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import pandas as pd

from aigid.core.files import write_text
from aigid.evaluation.comparison import CONTROLS, Results
from aigid.evaluation.evaluate import Cell, EvaluationResult, Section, read_results
from aigid.report import figures, html, summary_tables
from aigid.report.formatting import latex, pipe_table

NOTES = (
    "Every score is the probability that an image is generated. Brackets hold 95 % intervals: bootstrap over images "
    "(whole groups, within class) for AUROC, AP and TPR, Wilson for shares. 'acc @val' cuts where validation accuracy "
    "is highest, as a user can; 'acc @oracle' cuts where test accuracy is highest, which nobody knows in advance. "
    "'worst generator' has the lowest AUROC, 'worst source FPR' is the highest share of reals called generated at 0.5; "
    "'other views' is the mean AUROC over all views but the headline one. Rows named control_ must fail: they saw "
    "shuffled labels, random numbers, the file around the pixels, or shallow cues such as the mean colour."
)
PNG_FIGURES = ("roc", "generators")  # for a README


def write(
    root: Path | str,
    out: Path | str,
    cells: Iterable[Cell] | None = None,
    audit_warnings: Iterable[str] = (),
    run_info: Mapping[str, str] | None = None,
    differences: Mapping[str, pd.DataFrame] | None = None,
    sections: Mapping[str, Section] | None = None,
    images: Mapping[str, Path] | None = None,
) -> None:
    """Write ``index.html``, ``table.md``, ``table.tex`` and ``figures/`` into ``out``, from the results in ``root``.

    ``cells`` names the detectors and datasets that must be there; InputError if one is not. ``audit_warnings`` stand
    on top; ``run_info`` (command, seeds, hashes, versions) at the end; ``differences`` holds the table of
    ``comparison.compare_all`` by dataset; ``sections`` (the audits) follow the datasets; ``images`` holds the roots of
    those datasets whose images may be shown.
    """
    datasets = by_dataset(read_results(root, cells))
    warnings, differences, sections = list(audit_warnings), differences or {}, sections or {}
    thumbnails = {
        name: html.data_uris(summary_tables.worst_errors_table(datasets[name])["path"], folder)
        for name, folder in (images or {}).items()
    }
    info = {**(run_info or {}), **provenance(datasets)}
    page = html.html(datasets, NOTES, warnings, info, differences, sections, thumbnails)
    write_text(Path(out, "index.html"), page)
    write_text(Path(out, "table.md"), markdown(datasets, warnings, differences, sections))
    tables = (latex(summary_tables.headline_table(results), dataset) for dataset, results in datasets.items())
    write_text(Path(out, "table.tex"), "\n\n".join(tables) + "\n")
    for dataset, results in datasets.items():
        for name in PNG_FIGURES:
            plot, _ = figures.FIGURES[name]
            figures.save(plot(results), Path(out, "figures", f"{dataset}-{name}.png"))


def provenance(datasets: Mapping[str, Results]) -> dict[str, str]:
    """Return the inputs and settings of each result, and the versions of the libraries."""
    inputs = {
        f"{detector} on {dataset}": "; ".join(f"{name} {value}" for name, value in result.run_info.items())
        for dataset, results in datasets.items()
        for detector, result in results.items()
    }
    versions = [f"{name} {version(name)}" for name in ("aigid", "numpy", "scipy", "pandas", "matplotlib")]
    return inputs | {"versions": f"Python {python_version()}, {', '.join(versions)}"}


def by_dataset(results: Mapping[Cell, EvaluationResult]) -> dict[str, Results]:
    """Return the results of each dataset by detector, both in alphabetical order, the controls last."""
    datasets: dict[str, dict[str, EvaluationResult]] = {}
    for detector, dataset in sorted(results, key=lambda cell: (cell[0] in CONTROLS, cell)):
        datasets.setdefault(dataset, {})[detector] = results[detector, dataset]
    return dict(sorted(datasets.items()))


def markdown(
    datasets: Mapping[str, Results],
    audit_warnings: Iterable[str],
    differences: Mapping[str, pd.DataFrame],
    sections: Mapping[str, Section],
) -> str:
    """Return the report as Markdown."""
    parts = [f"# {html.TITLE}", *map(_warning, audit_warnings), NOTES]
    for dataset, results in datasets.items():
        parts += [f"## {dataset}", *map(_warning, summary_tables.warnings(results))]
        parts += [pipe_table(summary_tables.headline_table(results))]
        parts += _titled(summary_tables.tables(results, differences.get(dataset)))
        if lines := summary_tables.missing_table(results):
            parts.append("\n".join(["Left out:", "", *(f"- {line}" for line in lines)]))
    for title, section in sections.items():
        parts += [f"## {title}", section.intro, *_titled(section.tables)]
    return "\n\n".join(parts) + "\n"


def _warning(line: str) -> str:
    return f"> **Warning** {line}"


def _titled(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    return [f"### {title}\n\n{pipe_table(table)}" for title, table in tables.items()]
