"""From a manifest to how well the autoencoders give each image back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from aigid import store
from aigid.align.vae import load, reconstruct, require_divisible
from aigid.base.files import device_name, num_workers
from aigid.detectors.aeroblade.distance import Perceptual
from aigid.detectors.cnn.samples import BATCH, PIXELS, grouped
from aigid.device import choose_device
from aigid.features.preprocess import Preprocess
from aigid.features.reader import Input, Reader, Request


class Measure:
    """Measures images, each once in a view, wherever it stands."""

    def __init__(self, distance: Perceptual, size: int, folders: Sequence[Path], seed: int) -> None:
        device = choose_device(device_name())
        self.vaes = [load(folder).to(device) for folder in folders]
        for vae in self.vaes:
            require_divisible(vae, size, "aeroblade.size")
        self.distance, self.seed = distance.to(device), seed
        self.how = Preprocess(size=size, resize="squash", interpolation="bilinear")
        self.batch = min(BATCH, max(PIXELS // size**2, 1))
        self._known: dict[tuple[str, str], tuple[float, str]] = {}

    def closeness(self, manifest: pd.DataFrame, root: Path, view: str) -> tuple[np.ndarray, np.ndarray]:
        """The closeness (N,) of every image, NaN where it cannot be read, and its status (N,)."""
        wanted = Input(view, self.how)
        paths = dict(zip(manifest["sha256"], manifest["path"], strict=True))
        todo = [Request(0, path, key, (wanted,)) for key, path in paths.items() if (view, key) not in self._known]
        read = Reader(root, self.seed).samples(todo, num_workers(), 4 * self.batch)
        bar = tqdm(read, total=len(todo), unit="image", desc=view, disable=None)
        for samples in grouped(bar, self.batch):
            good = [it for it in samples if it.status == store.OK]
            found = closeness(np.stack([it.squares[wanted] for it in good]), self.vaes, self.distance) if good else ()
            self._known |= {(view, it.sha256): (np.nan, str(it.status)) for it in samples}
            self._known |= {(view, it.sha256): (float(v), store.OK) for it, v in zip(good, found, strict=True)}
        values, status = zip(*(self._known[view, key] for key in manifest["sha256"]), strict=True)
        return np.array(values), np.array(status, dtype=object)


@torch.inference_mode()
def closeness(images: np.ndarray, vaes: Sequence[Any], distance: Perceptual) -> np.ndarray:
    """The largest negated distance over the autoencoders (N,) of images (N, S, S, 3) uint8."""
    device = distance.weights.device
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    copies = (torch.from_numpy(reconstruct(vae, images)).to(device).permute(0, 3, 1, 2) for vae in vaes)
    return torch.stack([-distance(pixels, copy) for copy in copies]).amax(dim=0).cpu().numpy()
