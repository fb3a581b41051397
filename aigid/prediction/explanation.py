"""Where in an image its score comes from: each cell is covered in turn, and the score's drop is its color."""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from aigid.report import figures

GRID = 8  # cells to a side


def occlusion(score: Callable[[Iterator[np.ndarray]], np.ndarray], image: np.ndarray, grid: int = GRID) -> np.ndarray:
    """Return (grid, grid) drops of the score of an image (H, W, 3) where a cell is its mean color.

    ``score`` gives P(generated) of images, the first of which is the image itself. Positive cells speak for
    ``generated``, negative ones for ``real``. Zeiler and Fergus 2014, section 4.2.
    """
    grid = min(grid, *image.shape[:2])
    rows, columns = (np.linspace(0, side, grid + 1).astype(int) for side in image.shape[:2])
    fill = image.mean(axis=(0, 1)).round()

    def variants() -> Iterator[np.ndarray]:
        yield image
        for i, j in product(range(grid), range(grid)):
            covered = image.copy()
            covered[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = fill
            yield covered

    scores = score(variants())
    return (scores[0] - scores[1:]).reshape(grid, grid)


def write(image: np.ndarray, score_drops: np.ndarray, title: str, out: Path) -> None:
    """Draw an image beside its map."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    plain, overlaid = figure.subplots(1, 2)
    limit, extent = max(np.abs(score_drops).max(), 1e-6), (0, image.shape[1], image.shape[0], 0)
    plain.imshow(image, extent=extent)
    overlaid.imshow(image.mean(axis=2), cmap="gray", extent=extent)
    heat = overlaid.imshow(score_drops, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6, extent=extent)
    figure.colorbar(heat, ax=overlaid, label="fall of the score where covered")
    figure.suptitle(title.encode("utf-8", "backslashreplace").decode().replace("$", r"\$"), fontsize=9)
    for axes in (plain, overlaid):
        axes.set_axis_off()
    figures.save(figure, out)
