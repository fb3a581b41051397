"""A folder of images with one table that names them."""

from collections.abc import Iterator

from aigid.base import tables
from aigid.base.errors import InputError
from aigid.data.layouts import labels
from aigid.data.layouts.walk import Row, Tree

TREE = "one .csv or .parquet table with columns path (or filename) and label (or typ), beside the images that it names"
PASSED_ON = ("source", "group", "caption")


def rows(tree: Tree) -> Iterator[Row]:
    """One row a line of the only table in the folder.

    Its columns: ``path`` or ``filename``; ``label`` (0 or 1, real or fake) or ``typ`` (``real`` or the generator's
    name); optional ``generator``, ``split`` (else test), ``source``, ``group``, ``caption``.
    """
    found = [path for path in tree.others if "/" not in path and path.endswith(tables.SUFFIXES)]
    if len(found) > 1:
        raise InputError(f"{tree.root}: layout csv wants one .csv or .parquet file in it, found {', '.join(found)}")
    for table in found:
        for path, label, generator, cells in labels.lines(tree, table):
            yield {
                "path": path,
                "label": label,
                "generator": generator or "unknown",
                "split": cells.get("split") or "test",
                **{column: cells[column] for column in PASSED_ON if column in cells},
            }
