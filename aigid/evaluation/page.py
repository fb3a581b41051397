"""The report as one HTML file that needs nothing else: no script, no network, readable on a phone and on paper."""

import base64
from collections.abc import Mapping
from html import escape

import pandas as pd

from aigid.evaluation import figures, summary
from aigid.evaluation.summary import Judgements

Section = tuple[str, Mapping[str, pd.DataFrame]]  # what it says in one line, and its tables by title

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h3 { margin-top: 1.6rem; }
h2 { border-top: 2px solid; padding-top: .6rem; margin-top: 2.5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; max-width: 100%; }
img { max-width: 100%; height: auto; } figcaption { font-size: .85rem; color: #555; max-width: 32rem; }
.warning { background: #fff4d6; border-left: 4px solid #d99a00; padding: .4rem .8rem; margin: .4rem 0; }
.small { font-size: .85rem; color: #555; }
@media print { body { max-width: none; font-size: 10pt; } .wide { overflow: visible; } table { font-size: 7pt; }
  th, td { padding: .15rem .3rem; white-space: normal; } figure, tr { break-inside: avoid; }
  h2 { break-before: page; } }
"""


def html(
    datasets: Mapping[str, Judgements],
    reading: str,
    alarms: list[str],
    facts: Mapping[str, str],
    differences: Mapping[str, pd.DataFrame],
    sections: Mapping[str, Section],
) -> str:
    """The page: ``alarms``, each dataset with tables and figures, more ``sections``, the ``facts`` of its making."""
    parts = ["<h1>How well the detectors do</h1>", *map(_warning, alarms), f"<p>{escape(reading)}</p>"]
    for dataset, judgements in datasets.items():
        parts += _dataset(dataset, judgements, differences.get(dataset))
    for title, (line, tables) in sections.items():
        parts += [f"<h2>{escape(title)}</h2>", f"<p>{escape(line)}</p>"]
        for name, rows in tables.items():
            parts += [f"<h3>{escape(name)}</h3>", _table(rows)]
    if facts:
        rows = pd.DataFrame(facts.items(), columns=["fact", "value"])
        parts += ["<h2>How this came about</h2>", _table(rows)]
    head = f"<title>How well the detectors do</title><style>{STYLE}</style>"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    start = f'<!doctype html>\n<html lang="en"><head>{meta}{head}</head>\n<body>'
    return "\n".join([start, *parts, "</body></html>\n"])


def _dataset(dataset: str, judgements: Judgements, differences: pd.DataFrame | None) -> list[str]:
    parts = [f"<h2>{escape(dataset)}</h2>", *map(_warning, summary.warnings(judgements))]
    parts.append(_table(summary.verdicts(judgements)))
    drawn = [_figure(dataset, name, judgements) for name in figures.FIGURES if figures.shows(name, judgements)]
    parts.append(f'<div class="figures">{"".join(drawn)}</div>')
    for title, rows in summary.tables(judgements, differences).items():
        parts += [f"<h3>{escape(title)}</h3>", _table(rows)]
    for line in summary.omissions(judgements):
        parts.append(f'<p class="small">Left out: {escape(line)}</p>')
    return parts


def _figure(dataset: str, name: str, judgements: Judgements) -> str:
    draw, caption = figures.FIGURES[name]
    data = base64.b64encode(figures.svg(draw(judgements))).decode()
    image = f'<img alt="{escape(dataset)}: {name}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _warning(line: str) -> str:
    return f'<p class="warning">{escape(line)}</p>'


def _table(rows: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(column))}</th>" for column in rows)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows.to_numpy()
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
