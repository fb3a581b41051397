"""CIFAKE (Bird and Lotfi, 2023): ``{train,test}/{REAL,FAKE}/*.jpg``, CIFAR-10 against Stable Diffusion 1.4."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aigid.data.layouts.walk import image_paths

LABELS = {"REAL": 0, "FAKE": 1}


def rows(root: Path) -> Iterator[dict[str, str | int]]:
    """One row an image; it has no validation split of its own."""
    for path in image_paths(root):
        match PurePosixPath(path).parts:
            case [("train" | "test") as split, ("REAL" | "FAKE") as folder, _]:
                label = LABELS[folder]
                yield {
                    "path": path,
                    "label": label,
                    "generator": "sd14" if label else "real",
                    "split": split,
                    "source": "" if label else "cifar10",
                }
