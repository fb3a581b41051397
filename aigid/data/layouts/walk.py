"""The files below a folder, and what a layout is: a reading of their paths."""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from aigid.base.errors import InputError
from aigid.base.remote import Address, Place
from aigid.data.reading import archives

SUFFIXES = frozenset(
    [
        "avif",
        "bmp",
        "gif",
        "jfif",
        "jpe",
        "jpeg",
        "jpg",
        "mpo",
        "pbm",
        "pgm",
        "png",
        "pnm",
        "ppm",
        "tif",
        "tiff",
        "webp",
    ]
)
Row = dict[str, str | int]  # of a manifest


class Tree(NamedTuple):
    """What lies below ``root``: sorted POSIX paths relative to it, told apart by their suffix alone."""

    root: Place
    images: list[str]
    others: list[str]
    closed: list[str]  # folders that may not be opened


class Layout(NamedTuple):
    """How a dataset lies on disk.

    ``tree`` says it in words; ``rows`` gives a manifest row for each image of a ``Tree`` that stands where the layout
    wants it; ``archives`` are the suffixes of those in which its images may lie.
    """

    tree: str
    rows: Callable[[Tree], Iterator[Row]]
    archives: tuple[str, ...] = ()


def walk(root: Place) -> Tree:
    """All files below ``root``; links to folders are followed, but not back to a folder above them.

    Hidden folders are not entered, hidden files (``.DS_Store``, ``._a.png``) are no images.
    """
    tree = Tree(root, [], [], [])
    if isinstance(root, Address):
        return _listed(tree)
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = (root / folder).stat()
            here = (status.st_dev, status.st_ino)
            entries = [] if here in above else list(os.scandir(root / folder))
        except OSError:
            tree.closed.append(folder)
            continue
        for entry in entries:
            path = folder + entry.name
            if not _is_folder(entry):
                _put(tree, path)
            elif _entered(entry.name):
                waiting.append((f"{path}/", above | {here}))
    for files in tree[1:]:
        files.sort()
    return tree


def _listed(tree: Tree) -> Tree:
    """``walk``, of an address."""
    for path in sorted(tree.root.files()):
        if all(map(_entered, path.split("/")[:-1])):
            _put(tree, path)
    return tree


def _entered(folder: str) -> bool:
    return not folder.startswith(".") and folder != "__MACOSX"


def _put(tree: Tree, path: str) -> None:
    hidden = path.rpartition("/")[2].startswith(".")
    (tree.images if has_image_suffix(path) and not hidden else tree.others).append(path)


def unpacked(tree: Tree, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Add the images inside archives to a tree, where unpacking would put them, and say where each one lies.

    InputError for an archive that cannot be read, or for two images that would be one file.
    """
    lies_at: dict[str, str] = {}
    for path in [other for other in tree.others if other.lower().endswith(suffixes)]:
        folder = path.rpartition("/")[0]
        for name in archives.members(tree.root / path):
            table = path.lower().endswith(".parquet")  # of which there may be many, all with rows from 0
            shown = f"{path if table else folder}/{name.removeprefix('./')}".strip("/")
            if table or has_image_suffix(shown):
                if shown in lies_at or shown in tree.images:
                    raise InputError(f"{tree.root / path}: {name!r} also lies at {lies_at.get(shown, shown)}")
                lies_at[shown] = f"{path}{archives.MARK}{name}"
    tree.images.extend(lies_at)
    tree.images.sort()
    return lies_at


def has_image_suffix(path: str) -> bool:
    """Whether a name ends like an image's; what is in the file is found out when it is decoded."""
    stem, dot, suffix = path.rpartition(".")
    return bool(stem and dot) and suffix.lower() in SUFFIXES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
