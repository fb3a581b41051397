"""Folders that commands write: one call at a time, complete or not at all, and never in place of anything else."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from aigid.core.errors import InputError, full_disk_errors

PART = ".part-"  # between the name of what is written and the digits that tell temporary names apart
DIGITS = "[0-9a-f]" * 8


def temporary_path(path: Path, suffix: str = "") -> Path:
    """Return a new hidden name in the same folder, which ``temporaries`` knows as ours."""
    return path.with_name(f".{path.name[:48]}{PART}{token_hex(4)}{suffix}")


def temporaries(path: Path, suffix: str = "") -> list[Path]:
    """Return what stands at the names that ``temporary_path`` gives."""
    start, digits = f".{path.name[:48]}{PART}", len(token_hex(4))
    names = [name for name in path.parent.glob(f".*{PART}{DIGITS}*") if name.name.startswith(start)]
    return [name for name in names if name.name[len(start) + digits :] == suffix]


@contextmanager
def lock(path: Path, owner: object, command: str = "aigid", keep: bool = False) -> Iterator[None]:
    """Lock the file at ``path``, removed at the end unless ``keep``; InputError where another call did."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):  # or another call has just ended, and removed it
            locked = False
        if not locked:
            raise InputError(f"{owner}: another `{command}` writes to it")
        try:
            yield
        finally:
            if not keep and not os.fstat(file.fileno()).st_size:  # else it is a file of the user's
                path.unlink(missing_ok=True)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it; InputError where another call writes to it."""
    with full_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / ".lock", folder):
            yield


def require_replaceable(folder: Path, is_ours: Callable[[Path], bool] | None = None, kind: str = "") -> None:
    """Raise InputError unless a folder is absent, empty, or ``is_ours`` says that it holds an earlier ``kind``."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: is the current folder, or holds it; it cannot be replaced")
    if any(folder.iterdir()) and not (is_ours and is_ours(folder)):
        raise InputError(f"{folder}: not empty{kind and f', and no earlier {kind}'}")


@contextmanager
def replace_folder(folder: Path, is_ours: Callable[[Path], bool] | None = None, kind: str = "") -> Iterator[Path]:
    """Give an empty folder that takes the place of ``folder`` when the block ends, and is removed where it fails.

    InputError as ``require_replaceable`` raises it, and while another call writes to the folder.
    """
    require_replaceable(folder, is_ours, kind)
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_errors(folder.parent), lock(target.with_name(f".{target.name}.lock"), folder):
        for left in temporaries(target):  # by a call that was killed
            shutil.rmtree(left, ignore_errors=True)
        part, replaced = temporary_path(target), temporary_path(target)
        part.mkdir()
        try:
            yield part
            for path in part.rglob("*"):  # libraries have modes of their own
                if path.is_file() and not path.is_symlink():
                    path.chmod(part.stat().st_mode & 0o666)
            require_replaceable(folder, is_ours, kind)
            with suppress(FileNotFoundError):
                target.rename(replaced)
            part.rename(target)
        finally:
            for left in (part, replaced):
                shutil.rmtree(left, ignore_errors=True)
