"""Chameleon (AIDE, Yan et al., ICLR 2025): one test set of fakes that people took for photographs.

It is handed out on request; the tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.markers import marked
from aigid.data.layouts.walk import Row, Tree

TREE = "[Chameleon/][test/]{0_real,1_fake}/<image>"


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image; which generator made a fake is not published."""
    for path, folders, label in marked(tree, "Chameleon", "chameleon"):
        if folders in ([], ["test"]):
            yield {"path": path, "label": label, "generator": "chameleon" if label else "real", "split": "test"}
