"""ICC profiles: pixels of any color space as sRGB.

The conversion is littleCMS's as ``PIL.ImageCms.profileToProfile`` calls it (perceptual intent, 8 bits). A profile that
moves no color by more than 1 of 255 is sRGB and leaves pixels as they are. One that cannot be read, or that is for
other channels than the image has, counts as none, and ``profile_error`` says so.
"""

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from aigid.core.errors import reason

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}  # color space of a profile -> mode of the pixels it is for
BASES = dict.fromkeys(("1", "LA", "La", "F"), "L") | {"CMYK": "CMYK"}  # mode -> that of its colors, else RGB
MAX_BYTES = 2**23  # of a profile; those of presses have up to 3 MB
GRID = 17  # colors to a side of the cube by which sRGB is known


def base_mode(mode: str) -> str:
    """Return the mode of an image's colors alone: ``L``, ``RGB`` or ``CMYK``."""
    return "L" if mode == "L" or mode.startswith("I") else BASES.get(mode, "RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an L, RGB or CMYK image as RGB in sRGB."""
    transform = _transform(profile, image.mode)[0] if profile else None
    if transform is None:
        return image if image.mode == "RGB" else image.convert("RGB")
    return transform.apply(image)


def is_srgb(image: Image.Image) -> bool:
    """Return whether an image's profile, or its lack of one, leaves the pixels as they are."""
    profile = image.info.get("icc_profile")
    return not profile or _transform(profile, base_mode(image.mode))[0] is None


def profile_error(image: Image.Image) -> str:
    """Return why an image's profile counts as none, "" where it does not or there is none."""
    if "icc_profile" not in image.info:
        return ""
    profile = image.info["icc_profile"]
    return _transform(profile, base_mode(image.mode))[1] if profile else "incomplete"


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> tuple["ImageCmsTransform | None", str]:
    """Return the way from a profile's colors in ``mode`` to sRGB, None for sRGB itself; or why there is none."""
    from PIL import ImageCms

    if len(profile) > MAX_BYTES:
        return None, f"{len(profile)} bytes, limit {MAX_BYTES}"
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if MODES.get(space) != mode:
            return None, f"for {space}, and the image is {mode}"
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return None, reason(error, 200)
    if mode == "CMYK":
        return transform, ""
    levels = np.linspace(0, 255, 256 if mode == "L" else GRID).round().astype(np.uint8)
    grid = levels[None] if mode == "L" else np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    probe = Image.fromarray(grid)
    moved = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    return (None if abs(moved).max() <= 1 else transform), ""
