"""Chameleon (AIDE, Yan et al., ICLR 2025): one test set of fakes that people took for photographs.

It is handed out on request; the tree is written from the description.
"""

from collections.abc import Iterator

from aigid.core.paths import AnyPath
from aigid.data.layouts import tables
from aigid.data.layouts.base import FileTree, ManifestRow
from aigid.data.layouts.folders import iter_class_folders

CHAMELEON = "[Chameleon/][test/]{0_real,1_fake}/<image>"


def chameleon(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image; which generator made a fake is not published."""
    for path, folders, label in iter_class_folders(tree, "Chameleon", "chameleon"):
        if folders in ([], ["test"]):
            yield {"path": path, "label": label, "generator": "chameleon" if label else "real", "split": "test"}


# Synthbuster (Bammey, 2023): nine generators prompted after the photographs of RAISE-1k, all to test on.
#
# The tree is that of ClipBased-SyntheticImageDetection, written from the description. A fake has the name of its
# photograph, so the two are one ``group``.

SYNTHBUSTER = "synthbuster/<generator>/<image> beside real_RAISE_1k/<image>"


def synthbuster(tree: FileTree) -> Iterator[ManifestRow]:
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


# SynthWildX (Cozzolino et al., 2024): photographs and fakes of three generators as found on X, all to test on.
#
# The tree is that of ClipBased-SyntheticImageDetection, written from the description.

SYNTHWILDX = "[synthwildx/]list.csv with columns filename and typ (real, dalle3, firefly, midjourney) beside its images"


def synthwildx(tree: FileTree) -> Iterator[ManifestRow]:
    """One row a line of ``list.csv``; an image that can no longer be fetched keeps its row."""
    for table in tree.others:
        if table in ("list.csv", "synthwildx/list.csv"):
            for path, label, generator, _ in tables.iter_labels(tree, table):
                yield {
                    "path": path,
                    "label": label,
                    "generator": generator or "unknown",
                    "split": "test",
                    "source": "x",
                }


# WildRF (Cavia et al., 2024): photographs and fakes as found on three social networks.
#
# Who made a fake is not known: its ``generator`` is the network, as is the ``source`` of the reals it is judged with.
# The tree is written from the description.

WILDRF = "[WildRF/]{train,val}/{0_real,1_fake} and [WildRF/]test/{reddit,twitter,facebook}/{0_real,1_fake}"


def wildrf(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image; of train and val, which name no network, the generator is ``unknown``."""
    for path, folders, label in iter_class_folders(tree, "WildRF"):
        match folders:
            case [("train" | "val") as split]:
                generator, source = "unknown", ""
            case ["test" as split, ("reddit" | "twitter" | "facebook") as source]:
                generator = source
            case _:
                continue
        yield {
            "path": path,
            "label": label,
            "generator": generator if label else "real",
            "split": split,
            "source": source,
        }


# B-Free's online set (Guillaro et al., CVPR 2025): viral images as re-shared, real and fake, all to test on.
#
# All copies of one image have one ``source_id`` and are one ``group``. The tree is written from the description.

BFREE_ONLINE = "a .csv with columns filename, label (REAL, FAKE) and source_id, beside the images that it names"
COLUMNS = {"filename", "label", "source_id"}


def bfree_online(tree: FileTree) -> Iterator[ManifestRow]:
    """One row a line of each such table; an image that can no longer be fetched keeps its row."""
    for table in tree.others:
        if table.count("/") < 2 and table.endswith(".csv") and _columns(tree.root / table) >= COLUMNS:
            for path, label, _, cells in tables.iter_labels(tree, table):
                yield {
                    "path": path,
                    "label": label,
                    "generator": "viral" if label else "real",
                    "split": "test",
                    "source": "viral",
                    "group": cells["source_id"],
                }


def _columns(path: AnyPath) -> set[str]:
    with path.open("r", newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        return set(file.readline().strip().split(","))
