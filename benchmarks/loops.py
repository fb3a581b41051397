"""How images are embedded elsewhere: the loops that benchmarks.extract measures against."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from aigid.features.backbones import BackboneSettings
from aigid.features.loaders.open_clip import load

BATCH = 64


class Files(Dataset):
    """A folder's images, opened by Pillow and transformed as the model wants it."""

    def __init__(self, folder: Path, transform: Callable) -> None:
        self.paths = sorted(folder.iterdir())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[number]))


def plain(folder: Path, settings: BackboneSettings, workers: int, out: Path) -> None:
    """open_clip's README, over a DataLoader: its transform, ``encode_image`` without gradients, one array."""
    batches = [embedded.numpy() for embedded in _embedded(folder, settings, workers)]
    np.save(out, np.concatenate(batches).astype(np.float16))


def clip_retrieval(folder: Path, settings: BackboneSettings, workers: int, out: Path) -> None:
    """clip-retrieval's reader, mapper and writer: normalised embeddings in float16 as npy, the paths as Parquet."""
    batches = []
    for embedded in _embedded(folder, settings, workers):
        embedded /= embedded.norm(dim=-1, keepdim=True)
        batches.append(embedded.to(torch.float16).numpy())
    buffer = BytesIO()
    np.save(buffer, np.concatenate(batches))
    out.write_bytes(buffer.getbuffer())
    pd.DataFrame({"image_path": list(map(str, sorted(folder.iterdir())))}).to_parquet(out.with_suffix(".parquet"))


def loaded(folder: Path, settings: BackboneSettings, workers: int) -> DataLoader:
    """Batches of pixels, ready for the model."""
    transform = open_clip.image_transform(settings.preprocess.size, is_train=False)
    return DataLoader(Files(folder, transform), BATCH, num_workers=workers)


def _embedded(folder: Path, settings: BackboneSettings, workers: int) -> Iterator[torch.Tensor]:
    model: nn.Module = load(settings).eval()
    with torch.no_grad():
        for pixels in loaded(folder, settings, workers):
            yield model(pixels)
