"""The report: every detector and dataset on one HTML page without script or network, and as Markdown and LaTeX."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from aigid.core import escape
from aigid.core.files import write_text
from aigid.core.paths import AnyPath
from aigid.core.tables import pipe_table
from aigid.evaluation.comparison import CONTROLS, Results
from aigid.evaluation.evaluate import Cell, EvaluationResult, Section, read_results
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.report import figures, summary_tables

TITLE = "How well the detectors do"
NOTES = (
    "Every score is the probability that an image is generated. Brackets hold 95 % intervals: bootstrap over images "
    "(whole groups, within class) for AUROC, AP and TPR, Wilson for shares. 'acc @val' cuts where validation accuracy "
    "is highest, as a user can; 'acc @oracle' cuts where test accuracy is highest, which nobody knows in advance. "
    "'worst generator' has the lowest AUROC, 'worst source FPR' is the highest share of reals called generated at 0.5; "
    "'other views' is the mean AUROC over all views but the headline one. Rows named control_ must fail: they saw "
    "shuffled labels, random numbers, the file around the pixels, or shallow cues such as the mean colour."
)
PNG_FIGURES = ("roc", "generators")  # for a README
WITH_INTERVAL = re.compile(r"(.*?\d) (\[.*?\])(.*)")  # a number and its interval
THUMBNAIL_PX = 128
MAX_PNG_PX = 64  # larger thumbnails are JPEG


def write(
    root: Path | str,
    out: Path | str,
    cells: Iterable[Cell] | None = None,
    audit_warnings: Iterable[str] = (),
    run_info: Mapping[str, str] | None = None,
    differences: Mapping[str, pd.DataFrame] | None = None,
    sections: Mapping[str, Section] | None = None,
    images: Mapping[str, AnyPath] | None = None,
) -> None:
    """Write ``index.html``, ``table.md``, ``table.tex`` and ``figures/`` into ``out``, from the results in ``root``.

    ``cells`` names the detectors and datasets that must be there; InputError if one is not. ``audit_warnings`` stand
    on top; ``run_info`` (command, seeds, hashes, versions) at the end; ``differences`` holds the table of
    ``comparison.compare_all`` by dataset; ``sections`` (the audits) follow the datasets; ``images`` holds the roots of
    those datasets whose images may be shown.
    """
    datasets, images, differences = by_dataset(read_results(root, cells)), images or {}, differences or {}
    info = {name: escape.address(str(value)) for name, value in {**(run_info or {}), **provenance(datasets)}.items()}
    content = {
        "title": TITLE,
        "notes": NOTES,
        "audit_warnings": list(audit_warnings),
        "datasets": [_dataset(name, datasets[name], differences.get(name), images.get(name)) for name in datasets],
        "sections": {
            title: {"intro": section.intro, "tables": section.tables, "figures": _images(section.figures)}
            for title, section in (sections or {}).items()
        },
        "run_info": pd.DataFrame(info.items(), columns=["fact", "value"]),
    }
    for name in ("index.html", "table.md"):
        write_text(Path(out, name), _render(name, content))
    write_text(Path(out, "table.tex"), "\n".join(_latex(name, results) for name, results in datasets.items()))
    for dataset, results in datasets.items():
        for name in PNG_FIGURES:
            plot, _ = figures.FIGURES[name]
            figures.save(plot(results), Path(out, "figures", f"{dataset}-{name}.png"))


def _render(template: str, content: dict[str, Any]) -> str:
    loader = PackageLoader("aigid.report")
    templates = Environment(loader=loader, autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    templates.filters |= {"interval_below": _interval_below, "pipe_table": pipe_table, "markdown": escape.markdown}
    return templates.get_template(template).render(content).strip() + "\n"


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


def _dataset(name: str, results: Results, differences: pd.DataFrame | None, root: AnyPath | None) -> dict[str, Any]:
    """Return what the templates show of a dataset; thumbnails where ``root`` is that of its images."""
    return {
        "name": name,
        "warnings": summary_tables.warnings(results),
        "headline": summary_tables.headline_table(results),
        "figures": [
            (f"{name}: {kind}", caption, _uri("svg+xml", figures.svg(plot(results))))
            for kind, (plot, caption) in figures.FIGURES.items()
            if figures.has_data(kind, results)
        ],
        "tables": summary_tables.tables(results, differences),
        "worst_errors": [] if root is None else list(_worst_errors(results, root)),
        "missing": summary_tables.missing_table(results),
    }


def _images(section_figures: Mapping[str, Figure]) -> list[tuple[str, str, str]]:
    return [(caption, caption, _uri("svg+xml", figures.svg(figure))) for caption, figure in section_figures.items()]


def _worst_errors(results: Results, root: AnyPath) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, generator, scores and thumbnail of the most wrongly scored images that can be read, each once."""
    for name, errors in summary_tables.worst_errors_table(results).groupby("path", sort=False):
        try:
            image = Image.fromarray(decode(root / str(name)))
        except ImageError:
            continue
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        buffer, kind = io.BytesIO(), "png" if max(image.size) <= MAX_PNG_PX else "jpeg"
        image.save(buffer, kind, **({} if kind == "png" else {"quality": 85}))
        scores = "; ".join(f"{detector} {score}" for detector, score in errors[["detector", "score"]].to_numpy())
        yield str(name), errors["generator"].iloc[0], scores, _uri(kind, buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _interval_below(cell: object) -> str:
    """Return a cell with its interval below its number, so that many columns fit."""
    if match := WITH_INTERVAL.fullmatch(str(cell)):
        return Markup('{0}{2}<span class="range">{1}</span>').format(*match.groups())
    return str(cell)


def _latex(dataset: str, results: Results) -> str:
    """Return the headline as a LaTeX table (package booktabs), the first column flush left and the others right."""
    table = summary_tables.headline_table(results)
    columns, caption = "l" + "r" * (table.shape[1] - 1), escape.latex(dataset)
    return table.to_latex(index=False, escape=True, caption=caption, column_format=columns)
