"""Photographs and their reconstructions (DDA, SEF): ``real/`` and ``fake/``, matched by stem, to train on.

The tree is that of DDA, written from the description.
"""

from collections.abc import Iterator

from aigid.data.layouts.walk import Row, Tree

TREE = "[{train,val,test}/]real/<id>.<suffix> beside [{train,val,test}/]fake/<id>.<suffix>"
LABELS = {"real": 0, "fake": 1}


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image that has a partner; the two are one ``group``."""
    found = [(path, *place) for path in tree.images if (place := _place(path))]
    partners = {kind: {group for _, _, folder, group in found if folder == kind} for kind in LABELS}
    for path, split, kind, group in found:
        if group in partners["real"] and group in partners["fake"]:
            yield {
                "path": path,
                "label": LABELS[kind],
                "generator": "reconstruction" if LABELS[kind] else "real",
                "split": split,
                "group": group,
            }


def _place(path: str) -> tuple[str, str, str] | None:
    """Split, ``real`` or ``fake``, and what a photograph shares with its reconstruction."""
    stem = path.rpartition(".")[0]
    match stem.split("/", 2):
        case [("train" | "val" | "test") as split, ("real" | "fake") as kind, name]:
            return split, kind, f"{split}/{name}"
    match stem.split("/", 1):
        case [("real" | "fake") as kind, name]:
            return "train", kind, name
    return None
