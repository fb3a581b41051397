"""Aligned fakes of a dataset's photographs, by published weights or by a small maker that is trained on them first."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from aigid.align.domains import AlignSettings
from aigid.data.demo import TrainingSettings
from aigid.errors import InputError
from aigid.params import Settings

FITTED = {"vae": "vae", "gan": "gan.safetensors"}  # below the stage's folder: a trained maker's own


class DomainSettings(Settings):
    """Where the maker of one domain comes from: a local path, else training, else (vae alone) the hub."""

    weights: str | None = None
    fit: TrainingSettings | None = None
    container: Literal["own", "png"] = "own"


class AlignedSettings(Settings):
    """A dataset whose photographs get fakes of both domains."""

    dataset: str
    vae: DomainSettings = DomainSettings()
    gan: DomainSettings = DomainSettings()


def how(settings: DomainSettings, domain: str, table: pd.DataFrame, root: Path, out: Path, seed: int) -> AlignSettings:
    """What `aigid.align.pairs.align` wants to know, once a small maker is trained, on training photographs alone."""
    weights = settings.weights
    if weights is None and settings.fit is not None:
        from aigid.align import fit  # diffusers

        weights = str(out / FITTED[domain])
        train = {"vae": fit.fit_vae, "gan": fit.fit_sr}[domain]
        train(_photographs(table, root), settings.fit, Path(weights))
    return AlignSettings(domain=domain, weights=weights, seed=seed, container=settings.container)


def _photographs(table: pd.DataFrame, root: Path) -> np.ndarray:
    """(N, S, S, 3) uint8, the readable ones of the training split; InputError unless all are of one size."""
    from aigid.data.formats import ImageError
    from aigid.data.images import decode

    found = []
    for path in table["path"][(table["split"] == "train") & (table["label"] == 0)]:
        try:
            found.append(decode(root / path))
        except ImageError:
            continue  # the alignment names it
    if sizes := sorted({image.shape[:2] for image in found}):
        if len(sizes) == 1:
            return np.stack(found)
        raise InputError(f"{root}: photographs of {len(sizes)} sizes; a maker is trained on those of one")
    raise InputError(f"{root}: no readable photograph in the training split")
