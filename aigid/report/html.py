"""The report as one HTML file without script or network, readable on a phone and on paper, with thumbnails."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from aigid.evaluation.comparison import Results
from aigid.evaluation.evaluate import Section
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.report import figures, summary_tables

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h3 { margin: 1.8rem 0 .3rem; }
h2 { border-top: 2px solid; padding-top: .6rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th { vertical-align: bottom; white-space: normal; } .range { display: block; font-size: .75rem; color: #555; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.figures { display: flex; flex-wrap: wrap; gap: 1.2rem; margin-top: 1.5rem; align-items: flex-start; }
figure { margin: 0; flex: 1 1 26rem; max-width: min(32rem, 100%); } img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #555; }
.thumbnails figure { flex: 0 0 9rem; } .thumbnails img { width: 6rem; image-rendering: pixelated; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.warning { background: #fff4d6; border-left: 4px solid #d99a00; padding: .4rem .8rem; margin: .4rem 0; }
.small { font-size: .85rem; color: #555; margin: .4rem 0; }
@media print { body { max-width: none; font-size: 10pt; padding: 0; } .wide { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: .15rem .25rem; } .range { font-size: 6pt; white-space: nowrap; }
  td { white-space: normal; }
  figure, tr, .warning { break-inside: avoid; } h2, h3 { break-after: avoid; } figure { flex: 0 0 47%; }
  .thumbnails figure { flex: 0 0 22%; } h2 ~ h2 { break-before: page; } }
"""
WITH_INTERVAL = re.compile(r"(.*?\d) (\[.*?\])(.*)")  # a number and its interval
TITLE = "How well the detectors do"
THUMBNAIL_PX = 128
MAX_PNG_PX = 64  # larger thumbnails are JPEG


def html(
    datasets: Mapping[str, Results],
    notes: str,
    audit_warnings: list[str],
    run_info: Mapping[str, str],
    differences: Mapping[str, pd.DataFrame],
    sections: Mapping[str, Section],
    thumbnails: Mapping[str, Mapping[str, str]],
) -> str:
    """Return the page: ``audit_warnings``, each dataset with tables and figures, ``sections``, ``run_info``.

    ``thumbnails`` holds ``data:`` addresses by dataset and path.
    """
    parts = [f"<h1>{TITLE}</h1>", *map(_warning, audit_warnings)]
    for dataset, results in datasets.items():
        parts += [f"<h2>{escape(dataset)}</h2>", *map(_warning, summary_tables.warnings(results))]
        parts += [_table(summary_tables.headline_table(results)), f'<p class="small">{escape(notes)}</p>']
        parts += _dataset(dataset, results, differences.get(dataset), thumbnails.get(dataset, {}))
    for title, section in sections.items():
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(section.intro)}</p>"]
        images = [_figure(caption, caption, figure) for caption, figure in section.figures.items()]
        parts += [f'<div class="figures">{"".join(images)}</div>'] if images else []
        parts += _titled(section.tables)
    if run_info:
        rows = pd.DataFrame(run_info.items(), columns=["fact", "value"])
        parts += ["<h2>How this came about</h2>", _table(rows, "facts")]
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f"<head>{meta}<title>{TITLE}</title><style>{STYLE}</style></head>"
    return "\n".join([f'<!doctype html>\n<html lang="en">{head}\n<body>', *parts, "</body></html>\n"])


def _dataset(
    dataset: str, results: Results, differences: pd.DataFrame | None, thumbnails: Mapping[str, str]
) -> list[str]:
    images = [
        _figure(f"{dataset}: {name}", caption, plot(results))
        for name, (plot, caption) in figures.FIGURES.items()
        if figures.has_data(name, results)
    ]
    parts = [f'<div class="figures">{"".join(images)}</div>', *_titled(summary_tables.tables(results, differences))]
    if thumbnails:
        parts.append(f'<div class="figures thumbnails">{"".join(_worst_errors(results, thumbnails))}</div>')
    return parts + [f'<p class="small">Left out: {escape(line)}</p>' for line in summary_tables.missing_table(results)]


def _titled(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for title, rows in tables.items():
        yield from (f"<h3>{escape(title)}</h3>", _table(rows))


def _worst_errors(results: Results, thumbnails: Mapping[str, str]) -> Iterator[str]:
    """Yield the most wrongly scored images; one that several detectors get wrong stands once."""
    rows = summary_tables.worst_errors_table(results)
    for name, errors in rows[rows["path"].isin(list(thumbnails))].groupby("path", sort=False):
        path, generator = str(name), errors["generator"].iloc[0]
        scores = "; ".join(f"{detector} {score}" for detector, score in errors[["detector", "score"]].to_numpy())
        image = f'<img alt="{escape(path)}" src="{thumbnails[path]}">'
        caption = f"{escape('photograph' if generator == 'real' else generator)}<br>{escape(scores)}"
        yield f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _figure(name: str, caption: str, figure: Figure) -> str:
    data = base64.b64encode(figures.svg(figure)).decode()
    image = f'<img alt="{escape(name)}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _warning(line: str) -> str:
    return f'<p class="warning">{escape(line)}</p>'


def _table(rows: pd.DataFrame, style: str = "") -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows.to_numpy())
    return f'<div class="wide {style}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: object) -> str:
    """Return a cell with its interval below its number, so that many columns fit."""
    if match := WITH_INTERVAL.fullmatch(str(cell)):
        number, interval, rest = map(escape, match.groups())
        return f'<td>{number}{rest}<span class="range">{interval}</span></td>'
    return f"<td>{escape(str(cell))}</td>"


def data_uris(paths: Iterable[str], root: Path) -> dict[str, str]:
    """Return a ``data:`` address of a thumbnail of each image below ``root`` that can be read, by path."""
    uris = {}
    for path in dict.fromkeys(paths):
        try:
            image = Image.fromarray(decode(root / path))
        except ImageError:
            continue
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
        buffer, kind = io.BytesIO(), "png" if max(image.size) <= MAX_PNG_PX else "jpeg"
        image.save(buffer, kind, **({} if kind == "png" else {"quality": 85}))
        uris[path] = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return uris
