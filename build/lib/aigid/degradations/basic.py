"""NTIRE 2026's twelve training operators, in the organisers' form and in that of FeatDistill's edited copy.

Each takes (H, W, 3) float32 in [0, 1], lengths in its pixels; `apply_operators` clips what it returns. Seven are the
same in both forms; ``lensblur``, ``colorsat``, ``colorshift``, ``brighten`` and ``jitter`` have ``form``. Quirks of the
released code (negative weights, exchanged axes) are what the challenge's images were made by, and are kept.
"""

from functools import cache
from math import ceil, exp, hypot
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aigid.degradations.pixels import ROWS, Floats, RngOrNone, convolve, gaussian, lab_lightness, luma, saturate

Form: TypeAlias = Literal["ntire", "featdistill"]
EPS = 2.22e-16  # smaller weights of a Gaussian, against its greatest, are left out
NUM_PASSES = 5  # of jitter


def gausblur(image: Floats, sigma: float, rng: RngOrNone = None) -> Floats:
    """Blur by a Gaussian of ``sigma`` px, cut at ceil(2 sigma) px; the edge is repeated."""
    if exp(-1 / (2 * sigma**2)) < EPS:
        return image
    return gaussian(image, sigma, ceil(2 * sigma), "edge")


def lensblur(image: Floats, radius: int, form: Form = "featdistill", rng: RngOrNone = None) -> Floats:
    """Average over a disk of ``radius`` px; the edge is repeated."""
    return convolve(image, area_disk(radius) if form == "ntire" else soft_disk(radius), "edge")


@cache
def soft_disk(radius: int) -> NDArray[np.float64]:
    """Return a kernel (2 radius + 1,) * 2 whose weight falls from 1 to 0 at radius - 1/2 to radius + 1/2."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return np.asarray(kernel / kernel.sum())


@cache
def area_disk(radius: int) -> NDArray[np.float64]:
    """Return the organisers' kernel: the area of each cell within the circle, wrong and negative on some of its rim."""
    y, x = np.abs(np.mgrid[-radius : radius + 1, -radius : radius + 1])
    far, near, square = np.maximum(y, x), np.minimum(y, x), radius**2
    inner = (far - 0.5) ** 2 + (near - 0.5) ** 2
    outer = (far + 0.5) ** 2 + (near + 0.5) ** 2
    first = np.where(square < (far + 0.5) ** 2 + (near - 0.5) ** 2, near - 0.5, 0)
    root = np.sqrt(np.maximum(square - (near - 0.5) ** 2, 0))
    second = np.where(square > (far - 0.5) ** 2 + (near + 0.5) ** 2, near + 0.5, root)

    def primitive(t: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = np.arcsin(np.clip(t / radius, -1, 1))
        return np.asarray(angle / 2 + np.sin(2 * angle) / 4)

    area = square * (primitive(second) - primitive(first)) - (far - 0.5) * (second - first) + first - near + 0.5
    on_axis = (near == 0) & (far - 0.5 < radius) & (radius <= far + 0.5)
    kernel = np.where((inner < square) & (square < outer) | on_axis, area, 0) + (outer < square)
    kernel[radius, radius] = 1
    return np.asarray(kernel / kernel.sum())


def colorsat(image: Floats, factor: float, form: Form = "featdistill", rng: RngOrNone = None) -> Floats:
    """Multiply HSV saturation; a negative ``factor`` counts as 0 (featdistill) or inverts the hue (ntire)."""
    return saturate(image, factor if form == "ntire" else max(factor, 0))


def colorshift(image: Floats, amount: float, form: Form = "featdistill", *, rng: np.random.Generator) -> Floats:
    """Mix in, where edges are, the green plane moved by ``amount`` px down and to the right."""
    u, v = rng.random(2)
    return shift_green(image, round(u / hypot(u, v) * amount), round(v / hypot(u, v) * amount), form)


def shift_green(image: Floats, down: int, right: int, form: Form) -> Floats:
    """Return the image whose green plane has moved by whole px, weighted by the strength of edges.

    Axes of padding and cut are exchanged in the source, so the first |down - right| rows or columns of the moved plane
    come from the other side of the image.
    """
    height, width = image.shape[:2]
    rows = np.clip((np.arange(height) + right - down) % (height + 2 * right) - right, 0, height - 1)
    columns = np.clip((np.arange(width) + down - right) % (width + 2 * down) - down, 0, width - 1)
    green, weight, result = image[..., 1], edge_weight(image, form), image.copy()
    result[..., 1] = weight * green[rows[:, None], columns] + (1 - weight) * green
    return result


def edge_weight(image: Floats, form: Form) -> Floats:
    """Return the smoothed gradient of the luma (H, W), stretched to [0, 1].

    Clipped at its percentiles 1 and 99 (featdistill); with one entry of each row set to 0 and one to 1 (ntire, where
    ranks are taken for values).
    """
    gray = np.pad(luma(image), 1, mode="edge")
    edges = np.hypot(gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1]) / 2
    edges = gaussian(edges, 4, 8, "edge")
    if edges.max() > edges.min():
        edges = (edges - edges.min()) / np.ptp(edges)
    if form == "featdistill":
        return np.asarray(np.clip(edges, *np.quantile(edges, (0.01, 0.99)).astype(np.float32)))
    smaller, greater = ((compare(edges, edges[:, :1])).sum(axis=1) for compare in (np.less, np.greater))
    rows = np.arange(len(edges))
    edges[rows, smaller], edges[rows, greater] = 0, 1
    return np.asarray(edges)


def brighten(image: Floats, amount: float, form: Form = "featdistill", rng: RngOrNone = None) -> Floats:
    """Return (2 c(x) + j(x)) / 3: the parabola c(t) = t + 2 amount t (1 - t) on RGB, and on CIELAB's lightness.

    In the form ``ntire`` the latter takes red for blue.
    """

    def curve(values: Floats) -> Floats:
        return np.asarray(np.clip(values + np.float32(2 * amount) * values * (1 - values), 0, 1))

    step = -1 if form == "ntire" else 1
    return (2 * curve(image) + lab_lightness(image[..., ::step], curve)[..., ::step]) / np.float32(3)


def darken(image: Floats, amount: float, rng: RngOrNone = None) -> Floats:
    """Return the parabola x - 2 amount x (1 - x) of each channel."""
    return image - np.float32(2 * amount) * image * (1 - image)


def jitter(image: Floats, amount: float, form: Form = "featdistill", *, rng: np.random.Generator) -> Floats:
    """Read every pixel at a Gaussian offset of ``amount`` px, bilinear, five times in succession."""
    for _ in range(NUM_PASSES):
        fields = np.float32(amount) * rng.standard_normal((2, *image.shape[:2]), dtype=np.float32)
        image = displace(image, fields[1], fields[0], form)
    return image


def displace(image: Floats, rows: Floats, columns: Floats, form: Form) -> Floats:
    """Read each pixel ``rows`` up and ``columns`` to the left (H, W) of it, bilinear.

    The source pads by the greatest displacement and cuts with exchanged axes: where these differ, the image moves by
    the difference. What lies outside of the padding is the edge (featdistill) or black (ntire).
    """
    height, width = image.shape[:2]
    pad_rows, pad_columns = ceil(abs(rows.max())), ceil(abs(columns.max()))
    moved = pad_columns - pad_rows
    down, right = np.arange(height) + moved, np.arange(width) - moved
    if moved:
        fields = np.ix_(np.clip(down, 0, height - 1), np.clip(right, 0, width - 1))
        rows, columns = rows[fields], columns[fields]
    y, x = down[:, None].astype(np.float32) - rows, right.astype(np.float32) - columns
    result = _bilinear(image, np.clip(y, 0, height - 1), np.clip(x, 0, width - 1))
    if form == "ntire":
        inside_rows = (y >= -pad_rows) & (y < height + pad_rows - 1)
        result[~(inside_rows & (x >= -pad_columns) & (x < width + pad_columns - 1))] = 0
    return result


def _bilinear(image: Floats, y: Floats, x: Floats) -> Floats:
    """Return the values at positions (H, W) within the image."""
    height, width = image.shape[:2]
    planes, result = [image[..., channel].ravel() for channel in range(3)], np.empty_like(image)
    for start in range(0, height, ROWS):
        rows = slice(start, start + ROWS)
        top, left = y[rows].astype(np.intp), x[rows].astype(np.intp)
        share_y, share_x = (y[rows] - top).astype(np.float32), (x[rows] - left).astype(np.float32)
        below, right = np.minimum(top + 1, height - 1) * width, np.minimum(left + 1, width - 1)
        top *= width
        corners = top + left, top + right, below + left, below + right
        for channel, plane in enumerate(planes):
            a, b, c, d = (plane.take(corner) for corner in corners)
            upper, lower = a + share_x * (b - a), c + share_x * (d - c)
            result[rows, :, channel] = upper + share_y * (lower - upper)
    return result


def quantization(image: Floats, levels: int, rng: RngOrNone = None) -> Floats:
    """Round to ``levels`` values, stretched over the whole image so that its least is 0 and its greatest 1."""
    edges = np.floor(255 * np.arange(levels) / levels)
    below = (edges < np.arange(256)[:, None]).sum(axis=1).astype(np.float32)  # of a value, as edges are whole numbers
    index = below[np.ceil(np.float32(255) * image).astype(np.uint8)]
    low, high = index.min(), index.max()
    return (index - low) / (high - low) if high > low else index


def lincontrchange(image: Floats, amount: float, rng: RngOrNone = None) -> Floats:
    """Apply the cubic through (0, 0), (.3, .25 - amount/4), (.5, .5), (.7, .75 + amount/4), (1, 1).

    Amount -0.2 is the identity; 0 is none.
    """
    q, t = np.float32(-25 / 21 * (1 + 5 * amount)), image - np.float32(0.5)
    return np.asarray(np.float32(0.5) + t * (1 - q / 4 + q * t * t))
