"""CIFAKE (Bird and Lotfi, 2023): CIFAR-10 against Stable Diffusion 1.4, 32 px, no val split of its own."""

from collections.abc import Iterator

from aigid.data.layouts.walk import Row, Tree

TREE = "{train,test}/{REAL,FAKE}/<image>"
LABELS = {"REAL": 0, "FAKE": 1}


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image."""
    for path in tree.images:
        match path.split("/"):
            case [("train" | "test") as split, ("REAL" | "FAKE") as folder, _]:
                label = LABELS[folder]
                yield {
                    "path": path,
                    "label": label,
                    "generator": "sd14" if label else "real",
                    "split": split,
                    "source": "" if label else "cifar10",
                }
