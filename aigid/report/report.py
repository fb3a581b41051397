"""The report: every detector and dataset on one HTML page that asks for nothing else, and as Markdown and LaTeX."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from itertools import accumulate, product
from pathlib import Path
from platform import python_version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from aigid.core import escape, tables
from aigid.core.files import write_text
from aigid.core.paths import AnyPath
from aigid.core.tables import pipe_table
from aigid.evaluation.comparison import CONTROLS, Results
from aigid.evaluation.evaluate import Cell, EvaluationResult, Section
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.report import charts, figures, summary_tables
from aigid.report.studies import ROLE_ORDER, over_time_sections, role_of, roles_section

TITLE = "How well the detectors do"
NOTES = (
    "Every score is the probability that an image is generated. Brackets hold 95 % intervals: bootstrap over images "
    "(whole groups, within class) for AUROC, AP and TPR, Wilson for shares. 'acc @val' cuts where validation accuracy "
    "is highest, as a user can; 'acc @oracle' cuts where test accuracy is highest, which nobody knows in advance. "
    "'worst generator' has the lowest AUROC, 'worst source FPR' is the highest share of reals called generated at 0.5; "
    "'other views' is the mean AUROC over all views but the headline one. Rows named control_ must fail: they saw "
    "shuffled labels, random numbers, the file around the pixels, or shallow cues such as the mean colour."
)
PNG_FIGURES = {"roc": figures.roc, "generators": figures.generators}  # for a README
SWITCHED = (summary_tables.PER_GENERATOR, summary_tables.PER_SOURCE)  # tables that the page has for each view
MAX_CELLS = 12_000  # of a dataset's tables by view, so that a page keeps to a megabyte
WITH_INTERVAL = re.compile(r"(.*?\d) (\[.*?\])(.*)")  # a number and its interval
THUMBNAIL_PX = 128
MAX_PNG_PX = 64  # larger thumbnails are JPEG


def write(
    results: Mapping[Cell, EvaluationResult],
    out: Path | str,
    audit_warnings: Iterable[str] = (),
    run_info: Mapping[str, str] | None = None,
    differences: Mapping[str, pd.DataFrame] | None = None,
    sections: Mapping[str, Section] | None = None,
    images: Mapping[str, AnyPath] | None = None,
) -> None:
    """Write ``index.html``, ``table.md``, ``table.tex`` and ``figures/`` into ``out``.

    ``audit_warnings`` stand on top; ``run_info`` (command, seeds, hashes, versions) at the end; ``differences`` holds
    the table of ``comparison.compare_all`` by dataset; ``sections`` (the audits) follow the datasets; ``images`` holds
    the roots of those datasets whose images may be described.
    """
    datasets, images, differences = by_dataset(results), images or {}, differences or {}
    sections = roles_section(datasets) | over_time_sections(datasets) | dict(sections or {})
    info = {name: escape.address(str(value)) for name, value in {**(run_info or {}), **provenance(datasets)}.items()}
    described = [_dataset(name, part, differences.get(name), images.get(name)) for name, part in datasets.items()]
    content = {
        "title": TITLE,
        "notes": NOTES,
        "switched": SWITCHED,
        "audit_warnings": list(audit_warnings),
        "detectors": list(dict.fromkeys(name for of_dataset in datasets.values() for name in of_dataset)),
        "datasets": described,
        "sections": {
            title: {"intro": section.intro, "tables": section.tables, "figures": _images(section.figures)}
            for title, section in sections.items()
        },
        "run_info": pd.DataFrame(info.items(), columns=["fact", "value"]),
    }
    for name in ("index.html", "table.md"):
        write_text(Path(out, name), _render(name, content))
    write_text(Path(out, "table.tex"), "\n".join(_latex(dataset["name"], dataset["headline"]) for dataset in described))
    for dataset, of_dataset in datasets.items():
        for name, plot in PNG_FIGURES.items():
            figures.save(plot(of_dataset), Path(out, "figures", f"{dataset}-{name}.png"))


def write_curves(results: Mapping[Cell, EvaluationResult], folder: Path) -> None:
    """Write ``<dataset>.<roc|pr|generators>.csv`` below ``folder``, by the column ``detector``.

    They hold the curves of all detectors, and the AUROC of each on each generator.
    """
    for dataset, of_dataset in by_dataset(results).items():
        parts = [result.parts("generator").assign(detector=name) for name, result in of_dataset.items()]
        names = {"name": "generator", "auroc_low": "low", "auroc_high": "high"}
        bars = pd.concat(parts).rename(columns=names)[["detector", "generator", "auroc", "low", "high"]]
        tables.write(bars[bars["auroc"].notna()], folder / f"{dataset}.generators.csv")
    for dataset, name in product(dict.fromkeys(dataset for _, dataset in results), ("roc", "pr")):
        curves = [
            result.curves[name].assign(detector=detector)
            for (detector, other), result in results.items()
            if other == dataset
        ]
        table = pd.concat([curve for curve in curves if len(curve)] or curves[:1])
        table.insert(0, "detector", table.pop("detector"))
        tables.write(table, folder / f"{dataset}.{name}.csv")


def _render(template: str, content: dict[str, Any]) -> str:
    loader = PackageLoader("aigid.report")
    templates = Environment(loader=loader, autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True)
    templates.filters |= {"pipe_table": pipe_table, "markdown": escape.markdown, "heat": charts.heat}
    templates.filters["parts"] = _parts
    if template == "index.html":
        templates.finalize = lambda value: escape.terminal(value) if type(value) is str else value
    folder = files("aigid.report").joinpath("templates")  # whose styles and scripts are our own, and stand as they are
    parts = {kind: Markup((folder / f"page.{kind}").read_text(encoding="utf-8").strip()) for kind in ("css", "js")}
    sources = [f"{name}-src {escape.source_hash(parts[kind])}" for name, kind in (("script", "js"), ("style", "css"))]
    policy = "; ".join(["default-src 'none'", "img-src data:", *sources, "base-uri 'none'", "form-action 'none'"])
    return templates.get_template(template).render(content, policy=policy, **parts).strip() + "\n"


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
    """Return the results of each dataset by detector, both in alphabetical order: datasets by role, controls last."""
    datasets: dict[str, dict[str, EvaluationResult]] = {}
    for detector, dataset in sorted(results, key=lambda cell: (cell[0] in CONTROLS, cell)):
        datasets.setdefault(dataset, {})[detector] = results[detector, dataset]
    return dict(sorted(datasets.items(), key=lambda item: (ROLE_ORDER.index(role_of(item[1])), item[0])))


def _dataset(name: str, results: Results, differences: pd.DataFrame | None, root: AnyPath | None) -> dict[str, Any]:
    """Return what the templates show of a dataset; thumbnails where ``root`` is that of its images."""
    views, left_out = _views_that_fit(summary_tables.by_part(results))
    return {
        "name": name,
        "warnings": _by_message(summary_tables.warnings(results), results),
        "headline": summary_tables.headline_table(results),
        "views": views,
        "charts": charts.charts(results),
        "tables": summary_tables.tables(results, differences),
        "worst_errors": [] if root is None else list(_worst_errors(results, root)),
        "missing": summary_tables.missing_table(results),
        "left_out": left_out,
    }


def _by_message(lines: Iterable[str], results: Results) -> list[str]:
    """Return the warnings, those that several detectors share as one that names them."""
    messages: dict[str, list[str]] = {}
    for line in lines:
        name, _, message = line.partition(": ")
        messages.setdefault(message if name in results else line, []).extend([name] if name in results else [])
    return [f"{', '.join(names)}: {message}" if names else message for message, names in messages.items()]


def _views_that_fit(views: dict[str, dict[str, pd.DataFrame]]) -> tuple[dict[str, dict[str, pd.DataFrame]], list[str]]:
    """Return the views, from the headline on, whose tables have ``MAX_CELLS`` together, and the names of the others."""
    ends = accumulate(sum(table.size for table in tables.values()) for tables in views.values())
    num = sum(end <= MAX_CELLS for end in ends) or 1
    return dict(list(views.items())[:num]), list(views)[num:]


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


def _parts(cell: object) -> tuple[str, str, str]:
    """Return the text of a cell before its interval, after it, and the interval, which stands below."""
    match = WITH_INTERVAL.fullmatch(text := str(cell))
    return (match[1], match[3], match[2]) if match else (text, "", "")


def _latex(dataset: str, table: pd.DataFrame) -> str:
    """Return the headline as a LaTeX table (package booktabs), the first column flush left and the others right."""
    columns, caption = "l" + "r" * (table.shape[1] - 1), escape.latex(dataset)
    return table.to_latex(index=False, escape=True, caption=caption, column_format=columns)
