"""One file format for a photograph and its fake: that of the photograph's own file, as far as Pillow writes it.

Both members are encoded here, by the same encoder with the same settings and without metadata, so that nothing around
the pixels tells them apart. A photograph that was a JPEG is written by its own tables on its own grid, where its
coefficients lie already, so that a second compression changes next to nothing; its fake is compressed by the same.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image

from aigid.data.reading.headers import Header

JPEG, PNG = (".jpg", ".jpeg"), (".png",)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")  # that Pillow writes


@dataclass(frozen=True)
class Container:
    """How both members of a pair are written."""

    suffixes: tuple[str, ...]  # of which the first goes behind a name that has none
    mode: Literal["L", "RGB"]
    options: dict[str, object]

    def name(self, path: str) -> str:
        """The photograph's path, with a suffix behind it where its own belongs to another format."""
        return path if path.lower().endswith(self.suffixes) else path + self.suffixes[0]

    def encode(self, pixels: np.ndarray) -> bytes:
        """(H, W, 3) uint8 as a file; a grey one keeps the luma alone."""
        buffer = BytesIO()
        Image.fromarray(pixels).convert(self.mode).save(buffer, **self.options)
        return buffer.getvalue()


def like(head: Header, pixels: np.ndarray, kind: Literal["own", "png"]) -> Container:
    """The container of a photograph with that header and those pixels (H, W, 3): JPEG as JPEG, all else as PNG.

    A photograph without colour makes both members grey, as a fake's faint colour would give it away.
    """
    mode = "RGB" if (pixels != pixels[..., :1]).any() else "L"
    if head.format != "JPEG" or kind == "png":
        return Container(PNG, mode, {"format": "PNG"})
    tables = [np.minimum(table, 255).tolist() for table in head.tables[: 1 if mode == "L" else 2]]
    subsampling = head.subsampling if head.subsampling in SUBSAMPLINGS else "4:2:0"
    return Container(JPEG, mode, {"format": "JPEG", "qtables": tables, "subsampling": subsampling})
