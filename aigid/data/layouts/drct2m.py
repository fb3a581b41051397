"""DRCT-2M (Chen et al., ICML 2024): 16 Stable Diffusion models, each prompted by or painting over MSCOCO photographs.

An image and its photograph have one file stem and are one ``group``. ``val2017`` is what the paper tests on, so here it
is the test split. The tree is written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.walk import Row, Tree

TREE = "<model>/{train2017,val2017}/<COCO id>.png beside MSCOCO/{train2017,val2017}/<COCO id>.jpg"
REALS = "MSCOCO"
SPLITS = {"train2017": "train", "val2017": "test"}


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image; ``source`` is ``mscoco`` throughout, for all models share these reals."""
    for path in tree.images:
        match path.split("/"):
            case [*_, model, ("train2017" | "val2017") as split, name]:
                yield {
                    "path": path,
                    "label": int(model != REALS),
                    "generator": "real" if model == REALS else model,
                    "split": SPLITS[split],
                    "source": "mscoco",
                    "group": name.rpartition(".")[0],
                }
