"""The images of a data set, whose embeddings or pixels are read when they are wanted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aigid.core import embeddings as embedding_files
from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.detectors.dataset import EmbeddedDataset, LabeledEmbeddings, joined, open_dataset


@dataclass(frozen=True)
class Samples:
    """Rows of a manifest ``table`` whose paths start from ``root``; ``seed`` is that of random views.

    Where embedding files were named, ``datasets`` hold them, one for each manifest: then ``x`` and its kin are those
    of the readable rows of ``split`` in ``views``, one view below the other, as `base.rows.Rows` has them.
    """

    table: pd.DataFrame
    root: Path = Path()
    seed: int = 0
    datasets: list[EmbeddedDataset] = field(default_factory=list)
    part: str = ""
    shown: tuple[str, ...] = ("clean",)

    def split(self, name: str, views: Sequence[str] = ("clean",)) -> "Samples":
        """Return those of one split, whose embeddings are to be learnt from in ``views``."""
        return replace(self, table=self.table[self.table["split"] == name], part=name, shown=tuple(views))

    def judged(self) -> "Samples":
        """Return those of validation and test."""
        return replace(self, table=judged(self.table))

    @cached_property
    def rows(self) -> LabeledEmbeddings:
        """The labelled embeddings, read once."""
        return joined([dataset.split_in(self.part, self.shown) for dataset in self.datasets])

    @property
    def x(self) -> np.ndarray:
        """(N, D) float32."""
        return self.rows.x

    @property
    def y(self) -> np.ndarray:
        """(N,) int64."""
        return self.rows.y

    @property
    def paths(self) -> np.ndarray:
        """(N,) str."""
        return self.rows.paths

    @property
    def generators(self) -> np.ndarray:
        """(N,) str."""
        return self.rows.generators

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the encoders whose embeddings stand side by side."""
        return self.datasets[0].widths

    def __len__(self) -> int:
        return len(self.rows) if self.datasets else len(self.table)

    @cached_property
    def status(self) -> np.ndarray:
        """(len(table),) str: ``ok``, or why a row has no embedding."""
        return np.concatenate([dataset.status for dataset in self.datasets])[self.table.index]

    @property
    def messages(self) -> dict[int, str]:
        """More about rows that failed, by their index; files do not hold it."""
        return {}

    @property
    def views(self) -> list[str]:
        """The views that all embedding files hold, ``clean`` first; none without files."""
        return self.datasets[0].views if self.datasets else []

    @property
    def fingerprints(self) -> list[str]:
        """Of the encoders, in the order of the columns."""
        return self.datasets[0].fingerprints if self.datasets else []

    @property
    def embedding_files(self) -> list[Path]:
        """Where the embeddings lie."""
        return [file.path for dataset in self.datasets for file in dataset.files]

    @property
    def backbones(self) -> list[dict[str, Any]]:
        """Settings by which equal embeddings can be made anew."""
        files = self.datasets[0].files if self.datasets else []
        return [file.attributes["backbone"] for file in files if "backbone" in file.attributes]

    def embeddings(self, view: str, indices: np.ndarray) -> np.ndarray:
        """(n, D) float32 of the rows of ``table`` at ``indices``."""
        places = self.table.index.to_numpy()[indices]
        ends = np.cumsum([len(dataset.manifest) for dataset in self.datasets])
        if len(ends) == 1:
            return self.datasets[0].embeddings(view, places)
        of = np.searchsorted(ends, places, side="right")
        parts = [
            dataset.embeddings(view, places[of == number] - (end - len(dataset.manifest)))
            for number, (dataset, end) in enumerate(zip(self.datasets, ends, strict=True))
        ]
        return np.concatenate(parts)


def embedded(dataset: EmbeddedDataset) -> Samples:
    """Return the samples of one manifest and its embedding files."""
    made = [file.attributes for file in dataset.files if "backbone" in file.attributes]
    return Samples(dataset.manifest, seed=made[0]["seed"] if made else 0, datasets=[dataset])


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a scores file has: those of val and test."""
    return table[table["split"] != "train"]


def open_judged(path: Path, embeddings: Path | None, root: Path, seed: int) -> Samples:
    """Open the val and test images of a manifest; the embedding file holds all images, or these alone."""
    table = manifest.read(path)
    if embeddings is None:
        return Samples(judged(table), root, seed)
    part = judged(table).reset_index(drop=True)
    known = part if len(embedding_files.read(embeddings).key) == len(part) else table
    return embedded(open_dataset(known, [embeddings])).judged()


def open_samples(
    manifests: Mapping[str, Path], embeddings: Sequence[Path] = (), root: Path = Path(), seed: int = 0
) -> Samples:
    """Open manifests with their embedding files: of one manifest, several files stand side by side.

    Where a manifest has a name, its paths in ``table`` begin with it. InputError where files and manifests do not
    belong together.
    """
    tables = [manifest.read(path) for path in manifests.values()]
    if len(tables) > 1 and len(embeddings) != len(tables):
        raise InputError(f"{len(tables)} manifests and {len(embeddings)} embedding files: want one for each")
    named = [
        part.assign(path=f"{name}/" + part["path"]) if name else part
        for name, part in zip(manifests, tables, strict=True)
    ]
    table = pd.concat(named, ignore_index=True)
    files = [list(embeddings)] if len(tables) == 1 else [[path] for path in embeddings]
    datasets = [open_dataset(part, paths) for part, paths in zip(tables, files, strict=True) if paths]
    return Samples(table, root, embedded(datasets[0]).seed if datasets else seed, datasets)


# What a detector needs besides its samples, as the command line names it.


def named(arguments: Iterable[str]) -> dict[str, Path]:
    """Return paths by name from ``NAME=PATH``; a plain path has the name ``""``. InputError where two share a name."""
    result = {}
    for argument in arguments:
        name, _, path = argument.rpartition("=")
        if name in result:
            raise InputError(f"{argument}: {'two without a name' if not name else f'{name!r} is named twice'}")
        result[name] = Path(path)
    return result
