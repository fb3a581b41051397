"""The files below a folder, and what a layout is: a reading of their paths."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import PurePosixPath
from typing import NamedTuple
from zlib import crc32

from aigid.core.errors import InputError
from aigid.core.paths import AnyPath, RemotePath
from aigid.images import archives, errors

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
ManifestRow = dict[str, str | int]  # of a manifest


class FileTree(NamedTuple):
    """What lies below ``root``: sorted POSIX paths relative to it, told apart by their suffix alone."""

    root: AnyPath
    images: list[str]
    others: list[str]
    closed: list[str]  # folders that may not be opened


class Layout(NamedTuple):
    """How a dataset lies on disk.

    ``tree`` says it in words; ``rows`` gives a manifest row for each image of a ``Tree`` that stands where the layout
    wants it; ``archives`` are the suffixes of those in which its images may lie.
    """

    tree: str
    rows: Callable[[FileTree], Iterator[ManifestRow]]
    archives: tuple[str, ...] = ()


def scan(root: AnyPath) -> FileTree:
    """All files below ``root``; links to folders are followed, but not back to a folder above them.

    Hidden folders are not entered, hidden files (``.DS_Store``, ``._a.png``) are no images.
    """
    tree = FileTree(root, [], [], [])
    if isinstance(root, RemotePath):
        return _scan_remote(tree)
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
                _add(tree, path)
            elif _follow(entry.name):
                waiting.append((f"{path}/", above | {here}))
    for files in tree[1:]:
        files.sort()
    return tree


def _scan_remote(tree: FileTree) -> FileTree:
    """``walk``, of an address."""
    for path in sorted(tree.root.files()):
        if all(map(_follow, path.split("/")[:-1])):
            _add(tree, path)
    return tree


def _follow(folder: str) -> bool:
    return not folder.startswith(".") and folder != "__MACOSX"


def _add(tree: FileTree, path: str) -> None:
    hidden = path.rpartition("/")[2].startswith(".")
    (tree.images if has_image_suffix(path) and not hidden else tree.others).append(path)


def unpack_archives(tree: FileTree, suffixes: tuple[str, ...]) -> dict[str, str]:
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
                lies_at[shown] = f"{path}{errors.MEMBER_SEPARATOR}{name}"
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


# What a layout does not read of a folder; and where it reads nothing, which layout would fit.

MIN_MATCH = 20_000  # images to judge a layout by
MOST_FOLDERS = 32


def layout_error(name: str, layouts: Mapping[str, Layout], tree: FileTree) -> str:
    """One line for the user who named a layout that does not fit."""
    fitting = suggestions(name, layouts, tree)
    advice = f"what would fit: {', '.join(fitting)}" if fitting else "no other layout fits either"
    return (
        f"{tree.root}: no image found in layout {name!r}, which looks for {layouts[name].tree}; "
        f"here are {_examples(tree.images, 'images')} and {_examples(tree.others, 'other files')}; {advice}"
    )


def unmatched_images(tree: FileTree, taken: set[str]) -> str:
    """How many files below the folder are not in the manifest, and of which kind; "" where there are none."""
    images = [path for path in tree.images if path not in taken]
    kinds = Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in tree.others)
    named = ", ".join(f"{num} {kind}" for kind, num in kinds.most_common(5))
    parts = [
        f"{len(images)} images that stand outside the layout, such as {images[0]}" if images else "",
        f"{len(tree.others)} files that are no images by their names ({named})" if tree.others else "",
        f"{len(tree.closed)} folders that may not be opened, such as {tree.closed[0]}" if tree.closed else "",
    ]
    return "left out: " + "; ".join(filter(None, parts)) if any(parts) else ""


def suggestions(name: str, layouts: Mapping[str, Layout], tree: FileTree, most: int = 3) -> list[str]:
    """What fits best: the layout that was asked for on a folder near by, then others here, then others near by."""
    tree = _subsample(tree)
    near = list(_sibling_folders(tree))
    others = {other: layout for other, layout in layouts.items() if other != name}
    found = [(name, place, _share(layouts[name], place)) for place in near]
    for places in ([tree], near):
        shares = [(other, place, _share(layout, place)) for place in places for other, layout in others.items()]
        found += sorted(shares, key=lambda fit: -fit[2])
    return [
        other + ("" if place is tree else f" on {place.root}") + f" ({share:.0%} of the images)"
        for other, place, share in found
        if share > 0
    ][:most]


def _share(layout: Layout, tree: FileTree) -> float:
    """Of the images, how many the layout reads."""
    images = set(tree.images)
    try:
        return sum(row["path"] in images for row in layout.rows(tree)) / max(len(images), 1)
    except InputError:
        return 0


def _sibling_folders(tree: FileTree) -> Iterator[FileTree]:
    """The folder above, as far as it leads here, and the folders directly below."""
    root = tree.root.resolve()
    yield FileTree(root.parent, *([f"{root.name}/{path}" for path in paths] for paths in tree[1:]))
    starts = {path.partition("/")[0] + "/" for path in chain(tree.images, tree.others) if "/" in path}
    for start in sorted(starts)[:MOST_FOLDERS]:
        below = ([path.removeprefix(start) for path in paths if path.startswith(start)] for paths in tree[1:])
        yield FileTree(tree.root / start, *below)


def _subsample(tree: FileTree) -> FileTree:
    """At most about ENOUGH images, those of one stem kept or left together."""
    every = len(tree.images) // MIN_MATCH + 1
    kept = [path for path in tree.images if every == 1 or crc32(_stem(path).encode(errors="replace")) % every == 0]
    return tree._replace(images=kept)


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def _examples(paths: list[str], noun: str) -> str:
    return f"{len(paths)} {noun}" + (f" such as {paths[0]}" if paths else "")
