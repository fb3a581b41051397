"""Is there room on the disk for what will be written? Asked before anything is computed."""

import shutil
from collections import defaultdict
from pathlib import Path

from aigid.base.errors import InputError


def require(needs: dict[Path, int]) -> None:
    """InputError that names the folders of a disk whose free bytes are fewer than what is needed there.

    ``needs``: folder -> bytes. A folder need not exist yet.
    """
    disks: dict[int, list[Path]] = defaultdict(list)
    for folder in needs:
        disks[_standing(folder).stat().st_dev].append(folder)
    for folders in disks.values():
        needed, free = sum(needs[folder] for folder in folders), shutil.disk_usage(_standing(folders[0])).free
        if needed > free:
            names = " and ".join(map(str, folders))
            raise InputError(f"{names}: {readable(needed)} are needed there, {readable(free)} are free")


def readable(num_bytes: int) -> str:
    """Such as ``3.2 GB``."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"


def _standing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
