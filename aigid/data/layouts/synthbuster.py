"""Synthbuster (Bammey, 2023): nine generators prompted after the photographs of RAISE-1k, all to test on.

The tree is that of ClipBased-SyntheticImageDetection, written from the description. A fake has the name of its
photograph, so the two are one ``group``.
"""

from collections.abc import Iterator

from aigid.data.layouts.walk import Row, Tree

TREE = "synthbuster/<generator>/<image> beside real_RAISE_1k/<image>"


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image; ``source`` is ``raise`` throughout, for all generators share these reals."""
    for path in tree.images:
        match path.split("/"):
            case [*_, "real_RAISE_1k", name]:
                generator = "real"
            case [*_, "synthbuster", generator, name]:
                pass
            case _:
                continue
        yield {
            "path": path,
            "label": int(generator != "real"),
            "generator": generator,
            "split": "test",
            "source": "raise",
            "group": name.rpartition(".")[0],
        }
