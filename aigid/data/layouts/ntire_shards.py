"""NTIRE 2026 Robust AI-Generated Image Detection: shards of clean training images, each with its table of labels.

Which of its 20 generators made a fake is not published. The names of the table's columns are not documented: they are
told by the header. The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts import labels
from aigid.data.layouts.walk import Row, Tree

TREE = "shard_<i>/images/<name>.jpg beside shard_<i>/labels.csv with columns for the image's name and its label (0, 1)"


def rows(tree: Tree) -> Iterator[Row]:
    """One row a line of each ``labels.csv``; all of it is the train split."""
    for table in tree.others:
        match table.split("/"):
            case [*_, shard, "labels.csv"] if shard.startswith("shard_"):
                for path, label, generator, _ in labels.lines(tree, table):
                    yield {"path": path, "label": label, "generator": generator or "unknown", "split": "train"}
