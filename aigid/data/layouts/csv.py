"""A folder of images with one CSV or Parquet table that names them."""

from collections.abc import Iterator
from pathlib import Path

from aigid import tables
from aigid.errors import InputError

PATH_COLUMNS = ("path", "filename", "file_name", "image", "image_name")
LABEL_COLUMNS = ("label", "typ", "target", "is_fake")
REAL = ("0", "0.0", "real", "nature", "False", "false")
FAKE = ("1", "1.0", "fake", "ai", "generated", "True", "true")
PASSED_ON = ("source", "group", "caption")


def rows(root: Path) -> Iterator[dict[str, str | int]]:
    """One row a line of the only table in ``root``.

    Its columns: ``path`` or ``filename``; ``label`` (0 or 1, real or fake) or ``typ`` (``real`` or the generator's
    name); optional ``generator``, ``split`` (else test), ``source``, ``group``, ``caption``.
    """
    found = sorted(path for path in root.iterdir() if path.suffix in tables.SUFFIXES)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{root}: layout csv wants one .csv or .parquet file in it, found {names}")
    table = tables.read(found[0], ())
    path_column = _pick(table.columns, PATH_COLUMNS, found[0])
    label_column = _pick(table.columns, LABEL_COLUMNS, found[0])
    for number, row in enumerate(table.to_dict("records")):
        label = _label(row[label_column], label_column == "typ")
        if label is None:
            where = f"{found[0]}: {tables.place(number)}, column {label_column}"
            raise InputError(f"{where}: {row[label_column]!r}: want 0/1 or real/fake")
        named = row.get("generator") or (row[label_column] if label_column == "typ" else "unknown")
        yield {
            "path": row[path_column].removeprefix("./"),
            "label": label,
            "generator": named if label else "real",
            "split": row.get("split") or "test",
            **{column: row[column] for column in PASSED_ON if column in row},
        }


def _pick(columns: list[str], known: tuple[str, ...], table: Path) -> str:
    for column in known:
        if column in columns:
            return column
    raise InputError(f"{table}: no column {' or '.join(known)}; found {', '.join(columns)}")


def _label(value: str, typ: bool) -> int | None:
    if value in REAL:
        return 0
    return 1 if value in FAKE or typ else None
