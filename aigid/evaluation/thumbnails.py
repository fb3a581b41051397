"""Thumbnails: small pictures of single images that a page carries inside."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode

SIDE = 128  # px
SMALL = 64  # px up to which every pixel is kept


def thumbnails(paths: Iterable[str], root: Path) -> dict[str, str]:
    """A ``data:`` address of each image below ``root`` that can be read, by path."""
    found = {}
    for path in dict.fromkeys(paths):
        try:
            found[path] = _address(Image.fromarray(decode(root / path)))
        except ImageError:
            continue
    return found


def _address(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer, kind = io.BytesIO(), "png" if max(image.size) <= SMALL else "jpeg"
    image.save(buffer, kind, **({} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
