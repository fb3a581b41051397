"""What a person names on the command line, as a table of images."""

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

import pandas as pd

from aigid.base import tables
from aigid.base.errors import InputError
from aigid.data import manifest
from aigid.data.layouts import realfake
from aigid.data.layouts.walk import walk

KEPT = ("label", "generator", "split", "source", "group")  # of a manifest, if it has them
STDIN = "-"


def gather(arguments: Iterable[str], root: Path | None, lines: Iterable[bytes]) -> pd.DataFrame:
    """One row an image, each once: ``path``, and what is known of it, else empty.

    An argument is an image, a folder, a glob, a manifest (its paths start from ``root``, else from its folder), or
    ``-`` for ``lines`` of paths. InputError where there is none such, or no image in it.
    """
    parts = [_of(argument, root, lines) for argument in arguments]
    table = pd.concat(parts, ignore_index=True).drop_duplicates("path", ignore_index=True)
    return table.astype(object).fillna("")


def _of(argument: str, root: Path | None, lines: Iterable[bytes]) -> pd.DataFrame:
    path = Path(argument)
    if argument == STDIN:
        names = [os.fsdecode(line.rstrip(b"\r\n")) for line in lines]
        found = pd.DataFrame({"path": [str((root or Path()) / name) for name in names if name]})
    elif path.is_dir():
        found = _below(path)
    elif path.suffix in tables.SUFFIXES and path.is_file():
        found = _listed(path, root)
    elif not os.path.lexists(path) and has_magic(argument):
        found = pd.concat([pd.DataFrame(columns=["path"]), *_matches(argument)])
    elif not os.path.lexists(path):
        raise InputError(f"{argument}: no such image, folder or manifest")
    else:
        found = pd.DataFrame({"path": [argument]})
    if found.empty:
        raise InputError(f"{argument}: no images{' on stdin' if argument == STDIN else ''}")
    return found


def _matches(pattern: str) -> Iterator[pd.DataFrame]:
    for name in sorted(glob(pattern, recursive=True)):  # noqa: PTH207 (a Path's refuses absolute patterns)
        yield _below(Path(name)) if Path(name).is_dir() else pd.DataFrame({"path": [name]})


def _below(folder: Path) -> pd.DataFrame:
    """The images below a folder; where ``0_real`` and ``1_fake`` say what they are, that too."""
    tree = walk(folder)
    known = {row["path"]: row for row in realfake.rows(tree)}
    rows = [known.get(path, {"path": path}) for path in tree.images]
    return pd.DataFrame([row | {"path": str(folder / row["path"])} for row in rows])


def _listed(path: Path, root: Path | None) -> pd.DataFrame:
    table = tables.read(path, ("path",))
    if "label" in table:
        table = manifest.validate(table, str(path))
    below = path.parent if root is None else root
    kept = table[["path", *(column for column in KEPT if column in table)]]
    return kept.assign(path=[str(below / name) for name in table["path"]])
