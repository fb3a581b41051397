"""Where in an image its score comes from: each cell is covered in turn, and the score's drop is its colour."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aigid.images.decode import decode
from aigid.prediction import inputs
from aigid.prediction.predict import Predictor, predict
from aigid.report import figures

GRID = 8  # to a side


def write(bundle: Predictor, path: str, out: Path) -> None:
    """Draw an image beside its map."""
    image = decode(path)
    figures.save(_draw(image, occlusion(bundle, image), f"{bundle.folder.name}: {Path(path).name}"), out)


def occlusion(bundle: Predictor, image: np.ndarray, cells: int = GRID) -> np.ndarray:
    """(cells, cells): how much the score of an image (H, W, 3) falls where a cell is its mean colour.

    Zeiler and Fergus 2014, section 4.2. Positive cells speak for ``generated``, negative ones for ``real``.
    """
    cells = min(cells, *image.shape[:2])
    rows, columns = (np.linspace(0, side, cells + 1).astype(int) for side in image.shape[:2])
    with tempfile.TemporaryDirectory(prefix="aigid-") as scratch, _temporary_cache(scratch):
        paths = [inputs.to_path(image, Path(scratch), 0)]
        for i in range(cells):
            for j in range(cells):
                covered = image.copy()
                covered[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = image.mean(axis=(0, 1)).round()
                paths.append(inputs.to_path(covered, Path(scratch), len(paths)))
        scores = [found[0].score for found in predict([bundle], pd.DataFrame({"path": map(str, paths)}))]
    return scores[0] - np.array(scores[1:], np.float64).reshape(cells, cells)


@contextmanager
def _temporary_cache(scratch: str) -> Iterator[None]:
    """What is seen once need not be kept or shared."""
    changes = {"AIGID_CACHE": scratch, "AIGID_ROWS": ""}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _draw(image: np.ndarray, drops: np.ndarray, title: str) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    plain, mapped = figure.subplots(1, 2)
    most, extent = max(np.abs(drops).max(), 1e-6), (0, image.shape[1], image.shape[0], 0)
    plain.imshow(image, extent=extent)
    mapped.imshow(image.mean(axis=2), cmap="gray", extent=extent)
    shown = mapped.imshow(drops, cmap="RdBu_r", vmin=-most, vmax=most, alpha=0.6, extent=extent)
    figure.colorbar(shown, ax=mapped, label="fall of the score where covered")
    figure.suptitle(title.encode("utf-8", "backslashreplace").decode().replace("$", r"\$"), fontsize=9)
    for axes in (plain, mapped):
        axes.set_axis_off()
    return figure
