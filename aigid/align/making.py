"""Aligned fakes of a dataset's photographs, by published weights or by a small maker that is trained on them first."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.align.domains import AlignSettings
from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.base.params import Settings
from aigid.base.remote import Place
from aigid.data.demo import TrainingSettings

FITTED = {"vae": "vae", "gan": "gan.safetensors"}  # below the stage's folder: a trained maker's own


class DomainSettings(Settings):
    """Where the maker of one domain comes from: a local path, else training, else (vae alone) the hub."""

    weights: str | None = None
    fit: TrainingSettings | None = None
    container: Literal["own", "png"] = "own"


class AlignedSettings(Settings):
    """A dataset whose photographs get fakes of both domains."""

    dataset: str
    most: int | None = Field(None, ge=1)  # photographs of each split; None takes all
    vae: DomainSettings = DomainSettings()
    gan: DomainSettings = DomainSettings()


def sampled(table: pd.DataFrame, most: int | None) -> pd.DataFrame:
    """At most so many images of each split and generator; photographs are the same whatever fakes there are."""
    if most is None:
        return table
    kept = []
    for (split, _), rows in table.groupby(["split", "generator"]):
        order = seeding.generator("aligned sample", split).permutation(len(rows))
        kept.append(rows.iloc[np.sort(order[:most])])
    return pd.concat(kept).sort_values("path", ignore_index=True)


def how(settings: DomainSettings, domain: str, table: pd.DataFrame, root: Place, out: Path, seed: int) -> AlignSettings:
    """What `aigid.align.pairs.align` wants to know, once a small maker is trained, on training photographs alone."""
    weights = settings.weights
    if weights is None and settings.fit is not None:
        weights = str(out / FITTED[domain])
        _fit(domain)(_photographs(table, root), settings.fit, Path(weights))
    return AlignSettings(domain=domain, weights=weights, seed=seed, container=settings.container)


def _fit(domain: str) -> Callable[[np.ndarray, TrainingSettings, Path], None]:
    """What trains the small maker of a domain; each has heavy imports of its own."""
    if domain == "vae":
        from aigid.align.fit_vae import fit_vae as fit
    else:
        from aigid.align.fit_sr import fit_sr as fit
    return fit


def _photographs(table: pd.DataFrame, root: Place) -> np.ndarray:
    """(N, S, S, 3) uint8, the readable ones of the training split; InputError unless all are of one size."""
    from aigid.data.reading.errors import ImageError
    from aigid.data.reading.images import decode

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
