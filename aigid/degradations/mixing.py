"""What makes fakes harder to tell while training (DDA): quality alignment and mixes with the photograph.

Members of a pair are (H, W, 3) uint8 of one size; a mix is still a fake.
"""

from aigid.degradations.filters import jpeg
from aigid.degradations.pixels import Pixels, to_float, to_uint8

DEFAULT_QUALITY = 96  # that DDA compresses the fake of a photograph by which was no JPEG


def match_jpeg_quality(fake: Pixels, quality: int | None) -> Pixels:
    """The fake as a JPEG of its photograph's quality (1 to 100, IJG; None: no JPEG); unchanged at 100, as in DDA."""
    return fake if quality == 100 else jpeg(fake, quality or DEFAULT_QUALITY)


def pixel_mix(photograph: Pixels, fake: Pixels, share: float) -> Pixels:
    """``share`` of the fake and the rest of the photograph (DDA draws it from U(0, 0.8)).

    Rounded to the nearest level; DDA's code rounds down, which makes the mix half a level darker than both.
    """
    assert photograph.shape == fake.shape
    return to_uint8(share * to_float(fake) + (1 - share) * to_float(photograph))


def dct_mix(photograph: Pixels, fake: Pixels, share: float) -> Pixels:
    """``share`` of the photograph's full-image DCT and the rest of the fake's (DDA draws it from U(0, 0.8)).

    The DCT is linear and the share one for all coefficients, so the mix of transforms is the transform of the mix, and
    none has to be computed; mind that the share is the photograph's here, and the fake's in ``pixel_mix``.
    """
    return pixel_mix(photograph, fake, 1 - share)
