"""One picture in every form that phones and cameras give it: the same pixels, the same verdict."""

import numpy as np
from skimage import data

from aigid.images.decode import decode
from tests.helpers import profiles
from tests.helpers.hostile import encode, exif, png
from tests.unit.images.test_color import iccp

PICTURE = data.chelsea()[:256, :256].clip(30, 225)
CLEAN = {"sRGB PNG", "P3", "Adobe RGB", "16-bit PNG", "rotated"}


def forms() -> dict[str, bytes]:
    """Files that show ``PICTURE``."""
    deep = {name: profiles.from_srgb(PICTURE / 255, name) for name in ("Display P3", "Adobe RGB")}
    p3, adobe = (
        encode((values * 255).round().astype(np.uint8), "PNG", icc_profile=profiles.rgb(name))
        for name, values in deep.items()
    )
    wide = png((deep["Display P3"] * 65535).round().astype(np.uint16), 2, iccp(profiles.rgb("Display P3")))
    turned = encode(np.ascontiguousarray(np.rot90(PICTURE)), "PNG", exif=exif(6))
    return {
        "sRGB PNG": encode(PICTURE, "PNG"), "P3": p3, "Adobe RGB": adobe, "16-bit PNG": wide, "rotated": turned,
        "HEIC": encode(PICTURE, "HEIC", quality=95), "AVIF": encode(PICTURE, "AVIF", quality=95),
    }  # fmt: skip


def test_the_same_pixels() -> None:
    for name, content in forms().items():
        found = decode(content)
        assert found.shape == PICTURE.shape, name
        assert np.abs(found.astype(int) - PICTURE).mean() <= (1 if name in CLEAN else 3), name
