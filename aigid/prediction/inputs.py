"""What a user hands over: names on the command line as a table of images, images in memory as files."""

import os
from collections.abc import Callable, Iterable, Iterator
from glob import glob, has_magic
from io import BytesIO, IOBase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from aigid.core import manifest, tables
from aigid.core.errors import InputError
from aigid.core.scores import EXTRA_COLUMNS
from aigid.data.layouts import folders, scan_images
from aigid.images import Pixels
from aigid.images.formats import read_bytes

MANIFEST_COLUMNS = ("label", "generator", "split", "source", "group", *EXTRA_COLUMNS)  # of a manifest, if it has them
STDIN = "-"
Log = Callable[[str], object]
BYTES = (bytes, bytearray, memoryview)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
TIFF_MODES = ("F", "CMYK")


def collect_inputs(
    arguments: Iterable[str], root: Path | None, lines: Iterable[bytes], log: Log = lambda line: None
) -> pd.DataFrame:
    """Return one row an image, each once: ``path``, and what is known of it, else empty.

    An argument is an image, a folder, a glob, a manifest (its paths start from ``root``, else from its folder), or
    ``-`` for ``lines`` of paths. ``log`` gets a line on the files of a folder that are no images.
    InputError where there is none such, or no image in it.
    """
    parts = [_expand(argument, root, lines, log) for argument in arguments]
    table = pd.concat(parts, ignore_index=True).drop_duplicates("path", ignore_index=True)
    return table.astype(object).fillna("")


def _expand(argument: str, root: Path | None, lines: Iterable[bytes], log: Log) -> pd.DataFrame:
    path = Path(argument)
    if argument == STDIN:
        names = [os.fsdecode(line.rstrip(b"\r\n")) for line in lines]
        table = pd.DataFrame({"path": [str((root or Path()) / name) for name in names if name]})
    elif path.is_dir():
        table = _walk(path, log)
    elif path.suffix in tables.SUFFIXES and path.is_file():
        table = _read_list(path, root)
    elif not os.path.lexists(path) and has_magic(argument):
        table = pd.concat([pd.DataFrame(columns=["path"]), *_matches(argument, log)])
    elif not os.path.lexists(path):
        raise InputError(f"{argument}: no such image, folder or manifest")
    else:
        table = pd.DataFrame({"path": [argument]})
    if table.empty:
        raise InputError(f"{argument}: no images{' on stdin' if argument == STDIN else ''}")
    return table


def _matches(pattern: str, log: Log) -> Iterator[pd.DataFrame]:
    for name in sorted(glob(pattern, recursive=True)):  # noqa: PTH207 (a Path's refuses absolute patterns)
        yield _walk(Path(name), log) if Path(name).is_dir() else pd.DataFrame({"path": [name]})


def _walk(folder: Path, log: Log) -> pd.DataFrame:
    """Return the images below a folder; where its folders say what they are, as in the layout realfake, that too."""
    tree = scan_images(folder, log)
    known = {row["path"]: row for row in folders.realfake(tree)}
    return pd.DataFrame([known.get(path, {}) | {"path": str(folder / path)} for path in tree.images])


def _read_list(path: Path, root: Path | None) -> pd.DataFrame:
    table = tables.read(path, ("path",))
    if {"label", "generator", "split"} <= set(table):
        table = manifest.validate(table, str(path))
    elif "label" in table:
        tables.refuse(table, "label", ~table["label"].isin(list(manifest.LABELS)), "want 0 or 1", str(path))
        table = table.assign(label=table["label"].map(manifest.LABELS))
    folder = path.parent if root is None else root
    columns = ["path", *(column for column in MANIFEST_COLUMNS if column in table)]
    return table[columns].assign(path=[str(folder / name) for name in table["path"]])


def path_of(image: Any) -> str:
    """Return the path of an image that is a file, else an empty text."""
    return os.fspath(image) if isinstance(image, (str, os.PathLike)) else ""


def encode(image: Any) -> bytes:
    """Return the content of an image file; what is no file is encoded such that it decodes to the same pixels.

    ``image`` is a path; a file's bytes, or it opened; a PIL image; an array (H, W), (H, W, 3) or tensor (3, H, W), of
    bytes or of floats in [0, 1].
    ImageError where a file cannot be read, InputError for anything else.
    """
    if path := path_of(image):
        return read_bytes(path)
    if isinstance(image, BYTES):
        return bytes(image)
    if isinstance(image, IOBase):
        image.seek(0)
        return bytes(image.read())
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_to_uint8(image))
    if image.mode not in (*PNG_MODES, *TIFF_MODES):
        image = image.convert("RGB")
    out = BytesIO()
    if image.mode in TIFF_MODES:
        image.save(out, "TIFF")
    else:
        image.save(out, "PNG", compress_level=1, exif=image.getexif())
    return out.getvalue()


def _to_uint8(image: Any) -> Pixels:
    """Return (H, W) or (H, W, 3) uint8."""
    if not hasattr(image, "__array__"):
        raise InputError(f"{type(image).__name__}: want a path, a file or its bytes, a PIL image, an array or a tensor")
    tensor = hasattr(image, "detach")
    array = np.asarray(image.detach().cpu() if tensor else image)
    if tensor and array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or 0 in array.shape:
        raise InputError(f"an array of shape {array.shape}: want (H, W), (H, W, 3) or a tensor (3, H, W)")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"an array of {array.dtype}: want uint8, or floats in [0, 1]")
    if not (array.min() >= 0 and array.max() <= 1):  # also where there is a NaN
        raise InputError(f"floats from {array.min():g} to {array.max():g}: want them in [0, 1]")
    result: Pixels = np.rint(array * 255).astype(np.uint8)
    return result
