"""The experts as backbones: their features through the same row cache, engine and file as any other's."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from aigid.detectors.base.rows import EmbeddedDataset, Rows, joined
from aigid.detectors.sef.expert import base
from aigid.detectors.sef.settings import ExpertSettings
from aigid.features.backbones import BackboneSettings, JointSettings
from aigid.features.extract import Extraction, Towers, extract


def backbone(settings: ExpertSettings, experts: Sequence[Path]) -> BackboneSettings | JointSettings:
    """The saved experts side by side, their adapters merged: each costs what the bare tower costs."""
    parts = [base(settings).model_copy(update={"adapter": str(path)}) for path in experts]
    return JointSettings(library="joint", parts=parts, dtype="float32") if len(parts) > 1 else parts[0]


def embed(
    settings: ExpertSettings,
    experts: Sequence[Path],
    table: pd.DataFrame,
    root: Path,
    views: Sequence[str],
    seed: int,
    loader: Towers | None = None,
) -> Extraction:
    """The experts' features of a manifest's images; ``loader`` keeps them from one call to the next."""
    return extract(table, root, backbone(settings, experts), views, seed, loader=loader)


def lessons(domains: Iterable[EmbeddedDataset], split: str, views: Sequence[str]) -> Rows:
    """One split of all domains in several views, below each other: as many reals as fakes, half of each domain."""
    return joined([domain.split_in(split, views) for domain in domains])
