"""NTIRE 2026, Robust AI-Generated Image Detection: the training shards, and the labelled validation and test images."""

import re
from collections.abc import Iterator

from aigid.core.errors import InputError
from aigid.core.scores import IS_DISTORTED
from aigid.core.tables import row_label
from aigid.data.layouts import FileTree, ManifestRow, manifest_row
from aigid.data.layouts.tables import find_column, iter_labels, parse_label, path_resolver, read, records

COLUMNS = ("image_name", "label", "is_distorted")
LISTS, LIST_ITEM = ("distortions", "distortion_scales"), re.compile(r"[^\s'\",\[\]()]+")


def ntire_shards(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield NTIRE 2026 Robust AI-Generated Image Detection: shards of clean images to train on, each with its labels.

    Which of its 20 generators made a fake is not published, nor are the names of the columns: the header tells them.
    """
    for table in tree.others:
        match table.split("/"):
            case [*_, shard, "labels.csv"] if shard.startswith("shard_"):
                for path, label, generator, _ in iter_labels(tree, table):
                    yield manifest_row(path, label, generator or "unknown", "train")


def ntire_test(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield the images that have labels, half of which the organisers distorted, all to test on.

    A table ``<set>_labels.csv``, such as ``val_hard_labels.csv``, names images of the folder ``<set>_images`` or
    ``<val>_images_<hard>``, or below its own; the set is the source. Names of distortions and their scales come out
    of the printed lists, separated by blanks.
    """
    for table_path in tree.others:
        folder, _, name = table_path.rpartition("/")
        part = name.removesuffix("_labels.csv")
        if part == name:
            continue
        start, (word, _, rest) = f"{folder}/" if folder else "", part.partition("_")
        names = f"{start}{part}_images", f"{start}{word}_images_{rest}"
        inside = [name for name in names if any(path.startswith(f"{name}/") for path in tree.images)]
        yield from _rows(tree, table_path, part, [*inside, folder][0])


def _rows(tree: FileTree, table_path: str, part: str, folder: str) -> Iterator[ManifestRow]:
    path, resolve = tree.root / table_path, path_resolver(tree, folder)
    table = read(path)
    image, *numbers = (find_column(table, (column,), path) for column in COLUMNS)
    for index, cells in enumerate(records(table)):
        label, distorted = (parse_label(cells[column]) for column in numbers)
        if label is None or distorted is None:
            column = numbers[label is not None]
            raise InputError(f"{path}: {row_label(index, path)}, column {column}: {cells[column]!r}: want 0 or 1")
        extra = {f"extra_{key}": " ".join(LIST_ITEM.findall(cells.get(key, ""))) for key in LISTS}
        extra[IS_DISTORTED] = str(distorted)
        yield manifest_row(resolve(cells[image]), label, "unknown", "test", source=part, **extra)
