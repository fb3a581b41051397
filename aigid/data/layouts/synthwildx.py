"""SynthWildX (Cozzolino et al., 2024): photographs and fakes of three generators as found on X, all to test on.

The tree is that of ClipBased-SyntheticImageDetection, written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts import labels
from aigid.data.layouts.walk import Row, Tree

TREE = "[synthwildx/]list.csv with columns filename and typ (real, dalle3, firefly, midjourney) beside its images"


def rows(tree: Tree) -> Iterator[Row]:
    """One row a line of ``list.csv``; an image that can no longer be fetched keeps its row."""
    for table in tree.others:
        if table in ("list.csv", "synthwildx/list.csv"):
            for path, label, generator, _ in labels.lines(tree, table):
                yield {
                    "path": path,
                    "label": label,
                    "generator": generator or "unknown",
                    "split": "test",
                    "source": "x",
                }
