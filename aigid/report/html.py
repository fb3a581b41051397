"""The report as one HTML file that needs nothing else: no script, no network, readable on a phone and on paper."""

import base64
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from aigid.evaluation.results import Section
from aigid.images.decode import decode
from aigid.images.errors import ImageError
from aigid.report import figures, summary_tables
from aigid.report.summary_tables import Judgements

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


def html(
    datasets: Mapping[str, Judgements],
    reading: str,
    alarms: list[str],
    facts: Mapping[str, str],
    differences: Mapping[str, pd.DataFrame],
    sections: Mapping[str, Section],
    pictures: Mapping[str, Mapping[str, str]],
) -> str:
    """The page: ``alarms``, each dataset with tables and figures, more ``sections``, the ``facts`` of its making.

    ``pictures`` holds the thumbnails that may be shown, by dataset and path.
    """
    parts = ["<h1>How well the detectors do</h1>", *map(_warning, alarms)]
    for dataset, judgements in datasets.items():
        parts += [f"<h2>{escape(dataset)}</h2>", *map(_warning, summary_tables.warnings(judgements))]
        parts += [_table(summary_tables.headline_table(judgements)), f'<p class="small">{escape(reading)}</p>']
        parts += _dataset(dataset, judgements, differences.get(dataset), pictures.get(dataset, {}))
    for title, section in sections.items():
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(section.intro)}</p>"]
        drawn = [_figure(caption, caption, figure) for caption, figure in section.figures.items()]
        parts += [f'<div class="figures">{"".join(drawn)}</div>'] if drawn else []
        for name, rows in section.tables.items():
            parts += [f"<h3>{escape(name)}</h3>", _table(rows)]
    if facts:
        rows = pd.DataFrame(facts.items(), columns=["fact", "value"])
        parts += ["<h2>How this came about</h2>", _table(rows, "facts")]
    head = f"<title>How well the detectors do</title><style>{STYLE}</style>"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    start = f'<!doctype html>\n<html lang="en"><head>{meta}{head}</head>\n<body>'
    return "\n".join([start, *parts, "</body></html>\n"])


def _dataset(
    dataset: str, judgements: Judgements, differences: pd.DataFrame | None, pictures: Mapping[str, str]
) -> list[str]:
    drawn = [
        _figure(f"{dataset}: {name}", caption, draw(judgements))
        for name, (draw, caption) in figures.FIGURES.items()
        if figures.has_data(name, judgements)
    ]
    parts = [f'<div class="figures">{"".join(drawn)}</div>']
    for title, rows in summary_tables.tables(judgements, differences).items():
        parts += [f"<h3>{escape(title)}</h3>", _table(rows)]
    if pictures:
        parts.append(f'<div class="figures thumbnails">{"".join(_worst_errors(judgements, pictures))}</div>')
    for line in summary_tables.missing_table(judgements):
        parts.append(f'<p class="small">Left out: {escape(line)}</p>')
    return parts


def _worst_errors(judgements: Judgements, pictures: Mapping[str, str]) -> Iterator[str]:
    """The most wrongly scored images themselves; one that several detectors get wrong stands once."""
    rows = summary_tables.worst_errors_table(judgements)
    for path, own in rows[rows["path"].isin(list(pictures))].groupby("path", sort=False):
        what = "photograph" if own["generator"].iloc[0] == "real" else own["generator"].iloc[0]
        told = "; ".join(f"{detector} {score}" for detector, score in own[["detector", "score"]].to_numpy())
        image = f'<img alt="{escape(path)}" src="{pictures[path]}">'
        yield f"<figure>{image}<figcaption>{escape(what)}<br>{escape(told)}</figcaption></figure>"


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
    """An interval goes below its number, so that many columns fit."""
    if found := WITH_INTERVAL.fullmatch(str(cell)):
        number, interval, rest = map(escape, found.groups())
        return f'<td>{number}{rest}<span class="range">{interval}</span></td>'
    return f"<td>{escape(str(cell))}</td>"


# Thumbnails: small pictures of single images that a page carries inside.

THUMBNAIL_PX = 128  # px
MAX_BYTES = 64  # px up to which every pixel is kept


def thumbnails(paths: Iterable[str], root: Path) -> dict[str, str]:
    """A ``data:`` address of each image below ``root`` that can be read, by path."""
    found = {}
    for path in dict.fromkeys(paths):
        try:
            found[path] = _data_uri(Image.fromarray(decode(root / path)))
        except ImageError:
            continue
    return found


def _data_uri(image: Image.Image) -> str:
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    buffer, kind = io.BytesIO(), "png" if max(image.size) <= MAX_BYTES else "jpeg"
    image.save(buffer, kind, **({} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
