"""The image files below a folder."""

import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = frozenset(["avif", "bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp"])


def image_paths(root: Path) -> Iterator[str]:
    """POSIX paths relative to ``root`` of the files with an image suffix, in a fixed order; links are followed."""
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        for name in sorted(names):
            if name.rpartition(".")[2].lower() in SUFFIXES:
                yield (Path(folder) / name).relative_to(root).as_posix()
