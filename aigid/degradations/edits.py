"""What people do to their own photographs, which makes none of them generated, and a screen that is photographed.

Each is the same for equal bytes. Lengths are shares of the shorter side, so that an edit looks alike at every size.
Strengths are ours.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aigid.degradations.pixels import (
    Floats,
    Pixels,
    RngOrNone,
    centre_crop,
    from_pil,
    gaussian,
    luma,
    to_float,
    to_uint8,
)

MIN_LUMA = np.float32(1e-3)
FONT_SHARE = 0.06  # height of a watermark's letters
MIN_FONT = 8  # px
WATERMARK, CAPTION = "SAMPLE", "One day in summer"


def bilateral(image: Floats, radius: int, sigma: float, rng: RngOrNone = None) -> Floats:
    """Average within ``radius`` px by Gaussians of distance (``radius`` / 2) and of luma (``sigma``): a denoiser.

    The edge is repeated. Tomasi and Manduchi 1998.
    """
    height, width = image.shape[:2]
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    gray, total, weights = luma(image), np.zeros_like(image), np.zeros((height, width, 1), np.float32)
    bright = luma(padded)
    for row in range(2 * radius + 1):
        for column in range(2 * radius + 1):
            near = (slice(row, row + height), slice(column, column + width))
            distance = ((row - radius) ** 2 + (column - radius) ** 2) / (2 * (radius / 2) ** 2)
            weight = np.exp(-np.float32(distance) - (bright[near] - gray) ** 2 / np.float32(2 * sigma**2))[..., None]
            total += weight * padded[near]
            weights += weight
    return np.asarray(total / weights)


def white_balance(image: Floats, red: float, blue: float, rng: RngOrNone = None) -> Floats:
    """Multiply red and blue."""
    return image * np.array((red, 1, blue), np.float32)


def tone_map(image: Floats, compression: float, detail: float, rng: RngOrNone = None) -> Floats:
    """Bring the luma's base, a Gaussian of 5 %, closer to 1/2 and multiply what it lacks: the look of HDR.

    A base of ``compression`` 1 is flat, of 0 unchanged. Hues stay: all channels are multiplied alike.
    """
    gray = luma(image)
    base = gaussian(gray, 0.05 * min(gray.shape))
    mapped = base + np.float32(compression) * (np.float32(0.5) - base) + np.float32(detail) * (gray - base)
    return image * (np.maximum(mapped, 0) / np.maximum(gray, MIN_LUMA))[..., None]


def portrait_blur(image: Floats, sigma: float, rng: RngOrNone = None) -> Floats:
    """Blur by ``sigma`` of the shorter side around an upright ellipse in the middle, whose edge is soft."""
    height, width = image.shape[:2]
    y, x = ((np.arange(side, dtype=np.float32) + np.float32(0.5)) / side * 2 - 1 for side in (height, width))
    distance = np.hypot(y[:, None] / np.float32(0.85), x / np.float32(0.6))
    share = np.clip((distance - np.float32(0.8)) / np.float32(0.4), 0, 1)[..., None]
    return (1 - share) * image + share * gaussian(image, sigma * min(height, width))


def upscale(image: Pixels, factor: int, rng: RngOrNone = None) -> Pixels:
    """Multiply both sides by a whole number, Lanczos."""
    size = (factor * image.shape[1], factor * image.shape[0])
    return from_pil(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def watermark(image: Pixels, opacity: float, rng: RngOrNone = None) -> Pixels:
    """Write rows of a word in white over the image, each row half a word further, as stock photographs have it."""
    height, width = image.shape[:2]
    size = max(MIN_FONT, round(FONT_SHARE * min(height, width)))
    mask = Image.new("L", (width, height))
    draw, font = ImageDraw.Draw(mask), ImageFont.load_default(size)
    step = 7 * size
    for number, top in enumerate(range(2 * size, height, 5 * size)):
        for left in range(-number % 2 * step // 2, width, step):
            draw.text((left, top), WATERMARK, 255, font)
    share = np.float32(opacity) * np.asarray(mask, np.float32)[..., None] / 255
    return to_uint8((1 - share) * to_float(image) + share)


def text_overlay(image: Pixels, share: float, rng: RngOrNone = None) -> Pixels:
    """Put a black bar of a ``share`` of the height with a white line of text on the lower edge."""
    height, width = image.shape[:2]
    bar = Image.new("RGB", (width, max(1, round(share * height))))
    font = ImageFont.load_default(max(MIN_FONT, round(bar.height / 2)))
    ImageDraw.Draw(bar).text((width / 2, bar.height / 2), CAPTION, "white", font, anchor="mm")
    return np.concatenate([image[: height - bar.height], np.asarray(bar)])


def collage(image: Pixels, gap: float, rng: RngOrNone = None) -> Pixels:
    """Return a square of four on white: the image, its mirror, the middle half of each, ``gap`` of a side apart."""
    side, half = max(image.shape[:2]), centre_crop(image, 0.5)
    margin = max(1, round(gap * side))
    cell = max(1, (side - 3 * margin) // 2)
    canvas = Image.new("RGB", (side, side), "white")
    for number, part in enumerate((image, half[:, ::-1], half, image[:, ::-1])):
        fitted = Image.fromarray(np.ascontiguousarray(part)).resize((cell, cell), Image.Resampling.BICUBIC)
        canvas.paste(fitted, tuple(margin + (cell + margin) * cell_index for cell_index in (number % 2, number // 2)))
    return np.asarray(canvas)


def perspective(image: Pixels, amount: float, rng: RngOrNone = None) -> Pixels:
    """Look at the image from the left and above, bicubic: of its upper and right edge a share ``amount`` is cut off."""
    height, width = image.shape[:2]
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    source = corners + amount * np.array([(width, 0), (-width, height), (0, 0), (0, -height)])
    rows, right = [], []
    for (x, y), target in zip(corners, source, strict=True):
        for axis, value in enumerate(target):
            rows.append([x, y, 1, 0, 0, 0] if axis == 0 else [0, 0, 0, x, y, 1])
            rows[-1] += [-x * value, -y * value]
            right.append(value)
    coefficients = np.linalg.solve(np.array(rows, float), np.array(right)).tolist()
    picture = Image.fromarray(image)
    kind = Image.Transform.PERSPECTIVE
    return from_pil(picture.transform(picture.size, kind, coefficients, Image.Resampling.BICUBIC))


def moire(image: Floats, amplitude: float, pitch: float, angle: float, rng: RngOrNone = None) -> Floats:
    """Multiply by the beat of a screen's stripes, ``pitch`` px apart and turned by ``angle`` degrees, with the grid.

    What a sensor of one sample a pixel sees of the stripes is their frequency less the nearest whole one. Red, green
    and blue stripes lie a third of a period apart.
    """
    y, x = np.indices(image.shape[:2], np.float32)
    frequency = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) / pitch
    beat = (frequency - np.rint(frequency)).astype(np.float32)
    phase = 2 * np.pi * ((beat[0] * x + beat[1] * y)[..., None] + np.arange(3, dtype=np.float32) / 3)
    return np.asarray(image * (1 + np.float32(amplitude) * np.cos(phase)), np.float32)


def gamma(image: Floats, exponent: float, rng: RngOrNone = None) -> Floats:
    """Raise every value to a power."""
    return np.asarray(image ** np.float32(exponent))
