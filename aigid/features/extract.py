"""From a manifest to the embedding file of one backbone."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    device = choose_device(device_name())
    parts = settings.parts if isinstance(settings, JointSettings) else [settings]
    towers = [Backbone(part, device) for part in parts]
    width = sum(tower.dim for tower in towers)
    rows = {name: np.full((len(manifest), width), np.nan, settings.dtype) for name in view_names}
    reader = Reader(root, tuple(view_names), tuple(part.preprocess for part in parts), seed)
    read: list[Sample] = []
    for batch in _with_progress(reader, manifest):
        good = [place for place, sample in enumerate(batch) if sample.status == store.OK]
        if good:
            _encode([batch[place] for place in good], [len(read) + place for place in good], towers, rows)
        read += [replace(sample, squares={}) for sample in batch]
    return Extraction(
        views=rows,
        key=[sample.sha256 for sample in read],
        status=[sample.status for sample in read],
        attributes=_attributes(settings, towers, definitions, seed),
        failed=[sample for sample in read if sample.status != store.OK],
    )


def _with_progress(reader: Reader, manifest: pd.DataFrame) -> Iterator[list[Sample]]:
    hashes = manifest["sha256"] if "sha256" in manifest else [""] * len(manifest)
    with tqdm(total=len(manifest), unit="image", disable=None) as bar:
        for batch in reader.batches(zip(manifest["path"], hashes, strict=True), batch_size(), num_workers()):
            yield batch
            bar.update(len(batch))


def _encode(batch: list[Sample], places: list[int], towers: list[Backbone], rows: dict[str, np.ndarray]) -> None:
    """Embed whole samples and put them at ``places`` of every view's rows."""
    for view, out in rows.items():
        squares = zip(*(sample.squares[view] for sample in batch), strict=True)  # per tower
        embedded = np.hstack([tower.encode(np.stack(s)) for tower, s in zip(towers, squares, strict=True)])
        largest = np.abs(embedded).max()
        if not largest <= np.finfo(out.dtype).max:
            raise InputError(f"view {view}: an embedding reaches {largest:g}, more than {out.dtype} holds")
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
