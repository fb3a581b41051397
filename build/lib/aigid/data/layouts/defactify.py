"""Defactify 4 (MS COCOAI): 7,000 COCO captions, each with its real image and five generators' images of it.

Three forms are read, side by side if need be: the tree of the wide train table, the flat folders of the competition
with a table of labels, and the hub's Parquet tables, whose images are read where they lie. The tree is written from the
description of NYCU's repository.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from aigid.core.errors import InputError
from aigid.data.layouts import FileTree, ManifestRow, manifest_row, tables
from aigid.images import archives

PATTERN = (
    "train/{coco,sd21,sdxl,sd3,dalle,midjourney}_image/<i>.png; {val,test}/[image_]<i>.png with an "
    ".xlsx or .csv table of Index, Label_A, Label_B; [data/]<split>-*.parquet with Caption, Image, Label_A, Label_B"
)
GENERATORS = ("real", "sd21", "sdxl", "sd3", "dalle3", "midjourney")  # by Label_B
FOLDERS = ("coco_image", "sd21_image", "sdxl_image", "sd3_image", "dalle_image", "midjourney_image")
COLUMNS = dict(zip(FOLDERS, GENERATORS, strict=True))
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
INDEX_COLUMNS = ("index", "id", "image_id", "image", "filename")
MISSING_LABEL = -1
Split = tuple[str, str]  # the folder above, and the name


def defactify(tree: FileTree) -> Iterator[ManifestRow]:
    """Yield one row for each image that a table labels; the images of one caption are one ``group``."""
    flat: dict[Split, list[tuple[str, int]]] = defaultdict(list)
    parquet = _parquet_tables(tree)
    first_rows = {path: start for tables_of_split in parquet.values() for path, start, _ in tables_of_split}
    for path in tree.images:
        match path.split("/"):
            case [*parents, column, row] if (table_path := "/".join(parents)) in first_rows:
                number = first_rows[table_path] + int(row)
                if column in COLUMNS:
                    yield _row(path, COLUMNS[column], "train", f"train/{number:06}", "")
                else:
                    flat[_split_of(table_path)].append((path, number))
            case [*_, column, name] if column in COLUMNS:
                yield _row(path, COLUMNS[column], "train", f"train/{PurePosixPath(name).stem}", "")
            case [*parents, split, _] if split in SPLITS:
                flat["/".join(parents), split].append((path, _number(path)))
    for (above, split), images in flat.items():
        if split not in SPLITS:
            continue
        cells_by_number = _labels(tree, above, split)
        for _, start, texts in parquet.get((above, split), []):
            for number, cells in enumerate(texts, start):
                cells_by_number[number] |= cells
        for path, number in images:
            cells = cells_by_number.get(number, {})
            if "label_a" in cells:
                caption = cells.get("caption", "")
                yield _row(path, _generator(cells, path), SPLITS[split], caption and f"{split}/{caption}", caption)


def _parquet_tables(tree: FileTree) -> dict[Split, list[tuple[str, int, list[dict[str, str]]]]]:
    """Return the Parquet tables of each split: path, number of the first row, and the rows' cells that are text.

    Rows are counted from 0 through all tables of a split: ``train-00000-of-00002.parquet`` is the first of ``train``.
    """
    result: dict[Split, list[tuple[str, int, list[dict[str, str]]]]] = defaultdict(list)
    for path in sorted(other for other in tree.others if other.endswith(".parquet")):
        earlier = result[_split_of(path)]
        start = earlier[-1][1] + len(earlier[-1][2]) if earlier else 0
        earlier.append((path, start, archives.captions(tree.root / path)))
    return result


def _split_of(table: str) -> Split:
    """Return the folder of a split, less ``data``, and its name."""
    folder, _, name = table.rpartition("/")
    return folder.removesuffix("data").rstrip("/"), PurePosixPath(name).stem.partition("-")[0]


def _row(path: str, generator: str, split: str, group: str, caption: str) -> ManifestRow:
    label = int(generator != "real")
    return manifest_row(path, label, generator, split, source="coco", group=group, caption=caption)


def _generator(cells: dict[str, str], path: str) -> str:
    """Return ``real`` or the generator's name; ``unknown`` where there is only Label_A."""
    label, number = tables.parse_label(cells["label_a"]), cells.get("label_b", "").removesuffix(".0")
    if label is not None and not number:
        return "unknown" if label else "real"
    generator = dict(zip("012345", GENERATORS, strict=True)).get(number)
    if generator is None or label != int(generator != "real"):
        raise InputError(f"{path}: Label_A {cells['label_a']!r} and Label_B {number!r} name no class")
    return generator


def _labels(tree: FileTree, above: str, split: str) -> dict[int, dict[str, str]]:
    """Return the cells of each image's number in the tables of a split's folder, or next to it under its name."""
    result: dict[int, dict[str, str]] = defaultdict(dict)
    for path in tree.others:
        folder, _, name = path.rpartition("/")
        inside = folder == f"{above}/{split}".strip("/")
        adjacent = folder in (above, f"{above}/data".strip("/")) and name.lower().startswith(split[:3])
        if name.endswith((".csv", ".xlsx")) and (inside or adjacent):
            table = tables.read(tree.root / path)
            index = tables.find_column(table, INDEX_COLUMNS, tree.root / path)
            for cells in tables.records(table):
                result[_number(cells[index])] |= cells
    result.pop(MISSING_LABEL, None)
    return result


def _number(name: str) -> int:
    """Return 12 for ``image_12.png``, ``000012.png``, ``12`` and ``12.0``."""
    match = re.fullmatch(r"(?:.*/)?(?:image_)?(\d+)(?:\.\w+)?", name.strip())
    return int(match.group(1)) if match else MISSING_LABEL
