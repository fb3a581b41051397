"""Defactify 4 (MS COCOAI): 7,000 COCO captions, each with its photograph and five generators' images of it.

Three forms are read, side by side if need be: the tree of the wide train table, the flat folders of the competition
with a table of labels, and the hub's Parquet tables, whose images are read where they lie. The tree is written from the
description of NYCU's repository.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from aigid.core.errors import InputError
from aigid.data.layouts import tables
from aigid.data.layouts.base import FileTree, ManifestRow
from aigid.images import archives

DEFACTIFY = (
    "train/{coco,sd21,sdxl,sd3,dalle,midjourney}_image/<i>.png; {val,test}/[image_]<i>.png with an "
    ".xlsx or .csv table of Index, Label_A, Label_B; [data/]<split>-*.parquet with Caption, Image, Label_A, Label_B"
)
GENERATORS = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")  # by Label_B
COLUMNS = {
    "coco_image": "real",
    "sd21_image": "sd21",
    "sdxl_image": "sdxl",
    "sd3_image": "sd3",
    "dalle_image": "dalle3",
    "midjourney_image": "midjourney",
}
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
INDEX_COLUMNS = ("index", "id", "image_id", "image", "filename")
MISSING_LABEL = -1


def defactify(tree: FileTree) -> Iterator[ManifestRow]:
    """One row an image; the images of one caption are one ``group``; an image that no table labels is left out."""
    flat: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    tables = _tables(tree)
    starts = {path: start for of_split in tables.values() for path, start, _ in of_split}
    for path in tree.images:
        match path.split("/"):
            case [*above, table, column, row] if (place := "/".join([*above, table])) in starts:
                number = starts[place] + int(row)
                if column in COLUMNS:
                    yield _row(path, COLUMNS[column], "train", f"train/{number:06}", "")
                else:
                    flat[_split_of(place)].append((path, number))
            case [*_, column, name] if column in COLUMNS:
                yield _row(path, COLUMNS[column], "train", f"train/{PurePosixPath(name).stem}", "")
            case [*above, split, _] if split in SPLITS:
                flat["/".join(above), split].append((path, _number(path)))
    for (above, split), images in flat.items():
        if split not in SPLITS:
            continue
        known = _labels(tree, above, split)
        for _, start, texts in tables.get((above, split), []):
            for row, cells in enumerate(texts, start):
                known[row] |= cells
        for path, number in images:
            cells = known.get(number)
            if cells and "label_a" in cells:
                caption = cells.get("caption", "")
                yield _row(path, _generator(cells, path), SPLITS[split], caption and f"{split}/{caption}", caption)


def _tables(tree: FileTree) -> dict[tuple[str, str], list[tuple[str, int, list[dict[str, str]]]]]:
    """The Parquet tables of each split: path, number of the first row, and the rows' cells that are text.

    Rows are counted from 0 through all tables of a split: ``train-00000-of-00002.parquet`` is the first of ``train``.
    """
    found: dict[tuple[str, str], list[tuple[str, int, list[dict[str, str]]]]] = defaultdict(list)
    for path in sorted(other for other in tree.others if other.endswith(".parquet")):
        before = found[_split_of(path)]
        start = before[-1][1] + len(before[-1][2]) if before else 0
        before.append((path, start, archives.captions(tree.root / path)))
    return found


def _split_of(table: str) -> tuple[str, str]:
    """The folder of a split, less ``data``, and its name."""
    folder, _, name = table.rpartition("/")
    return folder.removesuffix("data").rstrip("/"), PurePosixPath(name).stem.partition("-")[0]


def _row(path: str, generator: str, split: str, group: str, caption: str) -> ManifestRow:
    label = int(generator != "real")
    row = {"path": path, "label": label, "generator": generator, "split": split}
    return row | {"source": "coco", "group": group, "caption": caption}


def _generator(cells: dict[str, str], path: str) -> str:
    """``real`` or the generator's name; ``unknown`` where only Label_A is told."""
    label, number = tables.parse_label(cells["label_a"]), cells.get("label_b", "").removesuffix(".0")
    if label is not None and not number:
        return "unknown" if label else "real"
    generator = dict(zip("012345", GENERATORS, strict=True)).get(number)
    if generator is None or label != int(generator != "real"):
        raise InputError(f"{path}: Label_A {cells['label_a']!r} and Label_B {number!r} name no class")
    return generator


def _labels(tree: FileTree, above: str, split: str) -> dict[int, dict[str, str]]:
    """What the tables in the folder of a split, or beside it under its name, say of each image's number."""
    known: dict[int, dict[str, str]] = defaultdict(dict)
    for place in tree.others:
        folder, _, name = place.rpartition("/")
        inside = folder == f"{above}/{split}".strip("/")
        beside = folder in (above, f"{above}/data".strip("/")) and name.lower().startswith(split[:3])
        if name.endswith((".csv", ".xlsx")) and (inside or beside):
            table = tables.read(tree.root / place)
            index = tables.find_column(table, INDEX_COLUMNS, tree.root / place)
            for cells in table.to_dict("records"):
                known[_number(cells[index])] |= cells
    known.pop(MISSING_LABEL, None)
    return known


def _number(name: str) -> int:
    """12 of ``image_12.png``, ``000012.png``, ``12`` and ``12.0``."""
    found = re.fullmatch(r"(?:.*/)?(?:image_)?(\d+)(?:\.\w+)?", name.strip())
    return int(found.group(1)) if found else MISSING_LABEL
