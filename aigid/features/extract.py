"""From a manifest to the embedding file of one backbone."""

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from aigid import store
from aigid.degrade import views
from aigid.errors import InputError
from aigid.features.backbones import BackboneSettings, JointSettings
from aigid.features.encoder import Backbone, choose_device
from aigid.features.reader import Reader, Sample
from aigid.files import batch_size, device_name, num_workers

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "torch", "transformers")


@dataclass(frozen=True)
class Extraction:
    """The rows of an embedding file, and the samples that have none."""

    views: dict[str, np.ndarray]  # (N, D) each, NaN where the image failed
    key: list[str]
    status: list[str]
    attributes: dict[str, object]
    failed: list[Sample]

    def write(self, path: Path) -> None:
        """Write the embedding file, atomically."""
        store.write(path, self.views, self.key, self.status, self.attributes)


def extract(
    manifest: pd.DataFrame,
    root: Path,
    settings: BackboneSettings | JointSettings,
    view_names: Sequence[str] = ("clean",),
    seed: int = 0,
) -> Extraction:
    """Embed every image of a manifest in every view; row = manifest row, a failed image keeps its row.

    Raises InputError for an unknown view, a root that is no folder, weights that cannot be loaded, an embedding that
    ``settings.dtype`` cannot hold.
    """
    definitions = {name: views.definition(name) for name in view_names}
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    parts = settings.parts if isinstance(settings, JointSettings) else [settings]
    device = choose_device(device_name())
    towers = [Backbone(part, device) for part in parts]
    rows = {name: np.full((len(manifest), sum(t.dim for t in towers)), np.nan, settings.dtype) for name in view_names}
    samples: list[Sample] = []
    reader = Reader(root, tuple(view_names), tuple(part.preprocess for part in parts), seed)
    hashes = manifest["sha256"] if "sha256" in manifest else [""] * len(manifest)
    with tqdm(total=len(manifest), unit="image", disable=None, file=sys.stderr) as bar:
        for batch in reader.batches(zip(manifest["path"], hashes, strict=True), batch_size(), num_workers()):
            good = [len(samples) + place for place, sample in enumerate(batch) if sample.status == store.OK]
            samples += [Sample(s.path, s.sha256, s.status, s.message) for s in batch]
            if good:
                _encode([s for s in batch if s.status == store.OK], good, towers, rows)
            bar.update(len(batch))
    status = [sample.status for sample in samples]
    failed = [sample for sample in samples if sample.status != store.OK]
    attributes = _attributes(settings, towers, definitions, seed)
    return Extraction(rows, [sample.sha256 for sample in samples], status, attributes, failed)


def _encode(batch: list[Sample], places: list[int], towers: list[Backbone], rows: dict[str, np.ndarray]) -> None:
    for view, out in rows.items():
        parts = [
            tower.encode(np.stack([sample.squares[view][number] for sample in batch]))
            for number, tower in enumerate(towers)
        ]
        embedded = np.concatenate(parts, axis=1)
        largest = np.abs(embedded).max()
        if not largest <= np.finfo(out.dtype).max:
            raise InputError(
                f"view {view}: an embedding reaches {largest:g}, too much for {out.dtype}: set dtype: float32"
            )
        out[places] = embedded


def _attributes(
    settings: BackboneSettings | JointSettings,
    towers: list[Backbone],
    definitions: dict[str, object],
    seed: int,
) -> dict[str, object]:
    versions = {"python": platform.python_version()} | {library: version(library) for library in LIBRARIES}
    return {
        "backbone": settings.model_dump(mode="json"),
        "fingerprint": [tower.fingerprint for tower in towers],
        "weights_sha256": [tower.weights_sha256 for tower in towers],
        "preprocessing": [tower.settings.preprocess.model_dump(mode="json") for tower in towers],
        "views": definitions,
        "seed": seed,
        "versions": versions,
    }
