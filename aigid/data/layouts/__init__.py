"""The files below a folder, and what a layout is: a reading of their paths."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zlib import crc32

from aigid.core.columns import BLOCK
from aigid.core.errors import InputError
from aigid.core.files import map_in_threads
from aigid.core.paths import AnyPath, RemotePath
from aigid.core.texts import SortedTexts, Texts, batches
from aigid.images.formats import is_picture

# A file is an image by its suffix, or by its content where the suffix says nothing; decoding reads or refuses it.
IMAGE_NAMES = """
apng avif bmp gif heic heif hif j2k jfif jp2 jpe jpeg jpg jpx jxl mpo pbm pgm png pnm ppm tif tiff webp
3fr arw cr2 cr3 dng erf kdc mrw nef nrw orf pef raf raw rw2 sr2 srf srw x3f
"""
VIDEO_NAMES = "3gp avi lrv m4v mkv mov mp4 mpg mts webm"
OTHER_NAMES = """
aae bz2 ckpt csv db doc docx gz h5 hdf5 htm html ini ipynb json jsonl log m4a md mp3 npy npz onnx parquet pdf pkl pt
pth py rar safetensors sh sqlite svg tar tgz thm toml tsv txt wav xlsx xml xmp xz yaml yml zip
"""  # never looked into; thm are thumbnails of videos, aae what iPhones edited
SUFFIXES, VIDEOS = set(IMAGE_NAMES.split()), set(VIDEO_NAMES.split())
OTHERS = VIDEOS | set(OTHER_NAMES.split())
MIN_MATCH = 20_000  # images to compare layouts by
MAX_FOLDERS = 32
ManifestRow = dict[str, str | int]


def manifest_row(path: str, label: int, generator: str, split: str, **columns: str) -> ManifestRow:
    """Return a row of a manifest; the generator of a real image is ``real``."""
    return {"path": path, "label": label, "generator": generator if label else "real", "split": split, **columns}


class FileTree(NamedTuple):
    """The files below ``root``: sorted POSIX paths relative to it; a folder that was not entered ends in ``/``."""

    root: AnyPath
    images: Sequence[str]
    others: list[str]
    unreadable_dirs: list[str]


class Layout(NamedTuple):
    """How a dataset lies on disk.

    ``pattern`` says it in words; ``iter_rows`` gives a manifest row for each image of a tree that stands where the
    layout expects it; ``archives`` are the suffixes of those in which its images may lie; ``one_class`` is of a
    benchmark that has no reals.
    """

    pattern: str
    iter_rows: Callable[[FileTree], Iterator[ManifestRow]]
    archives: tuple[str, ...] = ()
    one_class: bool = False


def scan(root: AnyPath) -> FileTree:
    """Return all files below ``root``; links to folders are followed, but not back to a folder above them.

    Hidden folders are not entered, hidden files (``.DS_Store``, ``._a.png``) are no images.
    """
    unreadable: list[str] = []
    if isinstance(root, RemotePath):
        return _sorted(root, root.files(), unreadable)
    return _sorted(root, _files(root, unreadable), unreadable)


def _files(root: Path, unreadable: list[str]) -> Iterator[str]:
    pending: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while pending:
        folder, parents = pending.pop()
        try:
            status = (root / folder).stat()
            inode = (status.st_dev, status.st_ino)
            entries = [] if inode in parents else list(os.scandir(root / folder))
        except OSError:
            unreadable.append(folder)
            continue
        for entry in entries:
            path = folder + entry.name
            if _is_folder(entry) and not is_hidden(entry.name):
                pending.append((f"{path}/", parents | {inode}))
            else:
                yield f"{path}/" if _is_folder(entry) else path


def _sorted(root: AnyPath, paths: Iterable[str], unreadable: list[str]) -> FileTree:
    """Return a tree of paths, each where it belongs; what lies in a hidden folder is that folder."""
    images, others = Texts(), list[str]()
    unique = (path for path, _ in groupby(SortedTexts(map(_until_hidden, paths))))
    for block in batches(unique, BLOCK):
        for path, image in zip(block, map_in_threads(lambda path: is_image(root, path), block), strict=True):
            (images if image else others).append(path)
    return FileTree(root, images, others, sorted(unreadable))


def is_hidden(path: str) -> bool:
    """Return whether a path leads through a hidden folder or that of a Mac's archive, or to a hidden file."""
    return any((part[:1] == "." and part != ".") or part == "__MACOSX" for part in path.split("/"))


def _until_hidden(path: str) -> str:
    """Return a path as it is, or the first hidden folder that it leads through, with a slash."""
    parts = path.split("/")
    number = next((number for number, part in enumerate(parts[:-1]) if is_hidden(part)), None)
    return path if number is None else "/".join(parts[: number + 1]) + "/"


def is_image(root: AnyPath, path: str, separator: str = "/") -> bool:
    """Return whether a file or member below ``root`` is a row, which decoding then reads or refuses by name."""
    if is_hidden(path):
        return False
    stem, _, suffix = path.rpartition("/")[2].rpartition(".")
    suffix = suffix.lower() if stem else ""
    if suffix in SUFFIXES or suffix in OTHERS:
        return suffix in SUFFIXES
    return is_picture(f"{root}{separator}{path}")


def scan_images(root: AnyPath, log: Callable[[str], object]) -> FileTree:
    """Return all files below ``root``; ``log`` gets a line on those that are no images."""
    tree = scan(root)
    if line := unmatched_images(tree):
        log(f"{root}: {line}")
    return tree


def has_image_suffix(path: str) -> bool:
    """Return whether a name ends like an image's."""
    stem, dot, suffix = path.rpartition(".")
    return bool(stem and dot) and suffix.lower() in SUFFIXES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def layout_error(name: str, layouts: Mapping[str, Layout], tree: FileTree) -> str:
    """Return one line for the user who named a layout that does not fit."""
    fitting = suggestions(name, layouts, tree)
    advice = f"what would fit: {', '.join(fitting)}" if fitting else "no other layout fits either"
    return (
        f"{tree.root}: no image found in layout {name!r}, which looks for {layouts[name].pattern}; "
        f"here are {_examples(tree.images, 'images')} and {_examples(tree.others, 'other files')}; {advice}"
    )


def unmatched_images(tree: FileTree, images: Sequence[str] = ()) -> str:
    """Return how many files are not in the manifest, ``images`` and others, by kind; "" where there are none."""
    hidden = [path for path in tree.others if is_hidden(path)]
    seen = [path for path in tree.others if not is_hidden(path)]
    videos = [path for path in seen if PurePosixPath(path).suffix[1:].lower() in VIDEOS]
    kinds = Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in set(seen).difference(videos))
    named = ", ".join(f"{num} {kind}" for kind, num in sorted(kinds.items(), key=lambda kind: (-kind[1], kind))[:5])
    parts = [
        f"{len(paths)} {what}, such as {paths[0]}"
        for paths, what in (
            (images, "images that stand outside the layout"),
            (videos, "videos"),
            (hidden, "hidden files or folders"),
            (tree.unreadable_dirs, "folders that may not be opened"),
        )
        if paths
    ]
    parts += [f"{kinds.total()} files that are no images ({named})"] if kinds else []
    return f"left out: {'; '.join(parts)}" if parts else ""


def suggestions(name: str, layouts: Mapping[str, Layout], tree: FileTree, max_suggestions: int = 3) -> list[str]:
    """Return what fits best: the requested layout on a folder near by, then others on this one, then others near by."""
    tree = _subsample(tree)
    near = list(_sibling_folders(tree))
    others = {other: layout for other, layout in layouts.items() if other != name}
    fits = [(name, folder, _share(layouts[name], folder)) for folder in near]
    for candidates in ([tree], near):
        shares = [(other, folder, _share(layout, folder)) for folder in candidates for other, layout in others.items()]
        fits += sorted(shares, key=lambda fit: -fit[2])
    return [
        other + ("" if folder is tree else f" on {folder.root}") + f" ({share:.0%} of the images)"
        for other, folder, share in fits
        if share > 0
    ][:max_suggestions]


def _share(layout: Layout, tree: FileTree) -> float:
    """Return the share of the images that the layout reads."""
    images = set(tree.images)
    try:
        return sum(row["path"] in images for row in layout.iter_rows(tree)) / max(len(images), 1)
    except InputError:
        return 0


def _sibling_folders(tree: FileTree) -> Iterator[FileTree]:
    """Yield the parent folder, of which only this child is seen, and the folders directly below."""
    root = tree.root.resolve()
    yield FileTree(root.parent, *([f"{root.name}/{path}" for path in paths] for paths in tree[1:]))
    starts = {path.partition("/")[0] + "/" for path in chain(tree.images, tree.others) if "/" in path}
    for start in sorted(starts)[:MAX_FOLDERS]:
        inner = ([path.removeprefix(start) for path in paths if path.startswith(start)] for paths in tree[1:])
        yield FileTree(tree.root / start, *inner)


def _subsample(tree: FileTree) -> FileTree:
    """Return at most about ``MIN_MATCH`` images; those of one stem stay together."""
    every = len(tree.images) // MIN_MATCH + 1
    return tree._replace(images=[path for path in tree.images if crc32(_stem(path)) % every == 0])


def _stem(path: str) -> bytes:
    return path.rpartition("/")[2].rpartition(".")[0].encode(errors="replace")


def _examples(paths: Sequence[str], noun: str) -> str:
    return f"{len(paths)} {noun}" + (f" such as {paths[0]}" if paths else "")
