"""Images that are no files yet: written as files that decode to the same pixels."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aigid.base.errors import InputError

PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


def path_of(image: Any, scratch: Path, number: int) -> Path:
    """The path of a file with the image: its own, or one below ``scratch``.

    ``image`` is a path; a PIL image; an array (H, W), (H, W, 3) or tensor (3, H, W), of bytes or of floats in [0, 1].
    """
    if isinstance(image, (str, os.PathLike)):
        return Path(image)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_bytes(image))
    suffix = "tiff" if image.mode == "F" else "png"
    if image.mode not in (*PNG_MODES, "F"):
        image = image.convert("RGB")
    path = scratch / f"{number}.{suffix}"
    how = {} if suffix == "tiff" else {"compress_level": 1, "exif": image.getexif()}
    image.save(path, **how)
    return path


def _bytes(image: Any) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8."""
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
    return np.rint(array * 255).astype(np.uint8)
