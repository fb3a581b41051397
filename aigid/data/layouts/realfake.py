"""The plainest tree of the field: ``0_real`` or ``1_fake`` anywhere in the path."""

from collections.abc import Iterator

from aigid.data.layouts.markers import marked
from aigid.data.layouts.walk import Row, Tree
from aigid.data.manifest import SPLITS

TREE = "[{train,val,test}/][<generator>/]{0_real,1_fake}/[<generator>/]<image>"


def rows(tree: Tree) -> Iterator[Row]:
    """One row an image, such as ``train/progan/car/1_fake/a.png``.

    The split is a folder named train, val or test, else test; the generator (of a real: the source) is the first
    other folder, before or after the marker, else ``unknown``.
    """
    for path, _, label in marked(tree):
        folders = [folder for folder in path.split("/")[:-1] if folder not in ("0_real", "1_fake")]
        name = next((folder for folder in folders if folder not in SPLITS), "unknown")
        yield {
            "path": path,
            "label": label,
            "generator": name if label else "real",
            "split": next((folder for folder in folders if folder in SPLITS), "test"),
            "source": "" if label or name == "unknown" else name,
        }
