"""MkDocs hook: tables of results, references made from the code, and links to files outside docs/.

A page asks for generated text by a line of its own:

- ``[table](../../results/benchmarks/NAME.csv)`` becomes the table, with what measured it;
- ``<!-- generate: params | cli | manifest | scores | metrics | datasets | api -->`` becomes that reference;
- ``<!-- include: FILE -->`` becomes the text of a file at the root of the repository.

Nothing here names a module of aigid: everything is looked up, so that moves and renames need no edit.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
import reference_code
import reference_params
from reference_params import markdown_table

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[1]
PROVENANCE = ("settings", "machine", "python", "torch", "commit", "date", "key")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


# MkDocs' events


def on_files(files: "Files", config: Any) -> "Files":
    """Add the files outside docs/ that pages link to, so that the site holds them."""
    from mkdocs.structure.files import File  # here, so that tests of the references need no MkDocs

    pages = list(files.documentation_pages())
    for page in pages:  # grows: a report that a page links to has figures of its own
        for target in outside(Path(page.abs_src_path)):
            uri = f"repository/{target.as_posix()}"
            if (ROOT / target).is_file() and uri not in files.src_uris:
                file = File.generated(config, uri, abs_src_path=str(ROOT / target))
                files.append(file)
                pages += [file] if uri.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with tables, references and links filled in."""
    source = Path(page.file.abs_src_path)
    markdown = with_includes(markdown)
    markdown = re.sub(r"^\[table\]\((\S+)\)$", lambda match: table_of(source, match[1]), markdown, flags=re.M)
    markdown = re.sub(r"^<!-- generate: (\w+) -->$", lambda match: REFERENCES[match[1]](), markdown, flags=re.M)
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    return LINK.sub(lambda match: relinked(match, source, depth), markdown)


# Links


def outside(page: Path) -> Iterator[PurePosixPath]:
    """Yield the paths, relative to the repository, of linked files outside docs/."""
    for match in LINK.finditer(with_includes(page.read_text(encoding="utf-8"))):
        if (target := in_repository(page, match[3])) and target.parts[0] != "docs":
            yield target


def in_repository(page: Path, target: str) -> PurePosixPath | None:
    """Return a relative link's target from the root of the repository; None for an address of the web."""
    if ":" in target or target.startswith("/"):
        return None
    resolved = Path(os.path.normpath(page.parent / target))
    return PurePosixPath(resolved.relative_to(ROOT).as_posix()) if resolved.is_relative_to(ROOT) else None


def relinked(match: re.Match, page: Path, depth: int) -> str:
    """Return a link to a file outside docs/ as one to the site's copy; as plain text where the file is not there."""
    target = in_repository(page, match[3])
    if target is None or target.parts[0] == "docs":
        return match[0]
    if (ROOT / target).is_file():
        return f"{match[1]}[{match[2]}]({'../' * depth}repository/{target}{match[4] or ''})"
    if (ROOT / target).is_dir():
        return f"`{target}/`"
    return f"*{match[2]}: `{target}`, which `make repro` writes*"


def with_includes(markdown: str) -> str:
    """Return a page of docs/ in which included files at the root are filled in, their links relative to docs/."""
    pages = {path.name.upper(): path.name for path in (ROOT / "docs").glob("*.md")}

    def moved(link: re.Match) -> str:
        target = pages.get(link[3].upper()) or (link[3] if ":" in link[3] else os.path.relpath(link[3], "docs"))
        return f"{link[1]}[{link[2]}]({target}{link[4] or ''})"

    def included(match: re.Match) -> str:
        return LINK.sub(moved, (ROOT / match[1]).read_text(encoding="utf-8"))

    return re.sub(r"^<!-- include: (\S+) -->$", included, markdown, flags=re.M)


# Tables of results


def table_of(page: Path, link: str) -> str:
    """Return the Markdown table of a CSV and, where it says so, what measured it."""
    path = ROOT / (in_repository(page, link) or link)
    if not path.is_file():
        return f"*`{path.relative_to(ROOT)}` is written by `make repro`.*"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    provenance = {name: ", ".join(dict.fromkeys(table[name])) for name in PROVENANCE if name in table}
    table = table.drop(columns=list(provenance))
    if {"cell", "seed"} <= set(table):
        table = over_seeds(table)
    provenance.pop("key", None)
    settings, machine = (provenance.pop(name, "") for name in ("settings", "machine"))
    measured = ", ".join([machine, *(f"{name} {text}".replace("date ", "") for name, text in provenance.items())])
    caption = " ".join(f"{line[:1].upper()}{line[1:]}." for line in (settings, measured) if line)
    return markdown_table(table) + (f"\n\n*{caption}*" if caption else "")


def over_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over the seeds of each cell."""
    rows = []
    for cell, part in runs.groupby("cell", sort=False):
        values = part.drop(columns=["cell", "seed"]).astype(float)
        spread = values.std(ddof=0)
        cells = {
            name: f"{mean:.3f}" + (f" ± {spread[name]:.3f}" if len(part) > 1 else "")
            for name, mean in values.mean().items()
            if name != "seconds"
        }
        rows.append({"cell": cell, "seeds": str(len(part)), **cells})
    return pd.DataFrame(rows)


REFERENCES: dict[str, Callable[[], str]] = {
    "params": reference_params.parameters,
    "cli": reference_code.command_line,
    "manifest": lambda: reference_code.columns_of("manifest"),
    "scores": lambda: reference_code.columns_of("scores"),
    "metrics": reference_code.metric_keys,
    "datasets": reference_code.dataset_licences,
    "api": reference_code.public_api,
}
