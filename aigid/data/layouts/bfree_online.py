"""B-Free's online set (Guillaro et al., CVPR 2025): viral images as re-shared, real and fake, all to test on.

All copies of one image have one ``source_id`` and are one ``group``. The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.base.remote import Place
from aigid.data.layouts import labels
from aigid.data.layouts.walk import Row, Tree

TREE = "a .csv with columns filename, label (REAL, FAKE) and source_id, beside the images that it names"
COLUMNS = {"filename", "label", "source_id"}


def rows(tree: Tree) -> Iterator[Row]:
    """One row a line of each such table; an image that can no longer be fetched keeps its row."""
    for table in tree.others:
        if table.count("/") < 2 and table.endswith(".csv") and _columns(tree.root / table) >= COLUMNS:
            for path, label, _, cells in labels.lines(tree, table):
                yield {
                    "path": path,
                    "label": label,
                    "generator": "viral" if label else "real",
                    "split": "test",
                    "source": "viral",
                    "group": cells["source_id"],
                }


def _columns(path: Place) -> set[str]:
    with path.open("r", newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        return set(file.readline().strip().split(","))
