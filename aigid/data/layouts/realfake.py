"""The layout of UniversalFakeDetect and its kin: ``0_real`` or ``1_fake`` anywhere in the path."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from aigid.data.layouts.walk import image_paths
from aigid.data.manifest import SPLITS

MARKERS = {"0_real": 0, "1_fake": 1}


def rows(root: Path) -> Iterator[dict[str, str | int]]:
    """One row an image, such as ``train/progan/car/1_fake/a.png``.

    The split is a folder named train, val or test, else test; the generator (of a real: the source) is the first
    other folder, else ``unknown``.
    """
    for path in image_paths(root):
        folders = PurePosixPath(path).parts[:-1]
        label = next((MARKERS[folder] for folder in folders if folder in MARKERS), None)
        if label is None:
            continue
        name = next((folder for folder in folders if folder not in MARKERS and folder not in SPLITS), "unknown")
        yield {
            "path": path,
            "label": label,
            "generator": name if label else "real",
            "split": next((folder for folder in folders if folder in SPLITS), "test"),
            "source": "" if label or name == "unknown" else name,
        }
