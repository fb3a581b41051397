"""The rows of manifests with their labels and, where embedding files are named, their embeddings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aigid.core import embeddings as embedding_files
from aigid.core import manifest
from aigid.core.cache import DECODING
from aigid.core.embeddings import BLOCK, KEY, OK, EmbeddingFile
from aigid.core.errors import InputError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class LabeledEmbeddings:
    """Embeddings ``x`` (N, D) float32 with labels ``y`` (N,) int64, 0 real and 1 generated.

    ``paths`` (N,) name the rows, ``generators`` (N,) are ``real`` for real images; ``widths`` are of the backbones
    side by side in the columns; ``origin`` is what the rows were read from.
    """

    x: Floats
    y: Ints
    paths: NDArray[Any] | None = None
    widths: tuple[int, ...] = ()
    generators: NDArray[Any] = field(default_factory=lambda: np.empty(0, str))
    origin: "Samples | None" = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Samples:
    """Rows of one or several manifests, whose paths start from ``root``; ``seed`` is that of random views.

    ``files`` are the embedding files side by side of each manifest, if any; the index of ``table`` counts the rows of
    all manifests. Images that ``pixels`` holds, (H, W, 3) uint8 by sha256, need not be read;
    ``cache_root`` stands in for ``$AIGID_CACHE``.
    """

    table: pd.DataFrame
    root: Path = Path()
    seed: int = 0
    files: list[list[EmbeddingFile]] = field(default_factory=list)
    pixels: Mapping[str, np.ndarray] = field(default_factory=dict)
    cache_root: Path | None = None

    def subset(self, *splits: str) -> "Samples":
        """Return the rows of some splits."""
        return replace(self, table=self.table[self.table["split"].isin(splits)])

    def split(self, name: str, views: Sequence[str] = ("clean",)) -> LabeledEmbeddings:
        """Return the readable rows of a split of each manifest, one view below the other."""
        ok = np.flatnonzero((self.table["split"] == name).to_numpy() & (self.status == OK))
        parts = [ok[self._file_numbers(ok) == number] for number in range(len(self.files))]
        order = np.concatenate([part for part in parts for _ in views])
        x, start = np.empty((len(order), sum(self.widths)), np.float32), 0
        for part in parts:
            for view in views:
                self._copy_embeddings(view, part, x[start : start + len(part)])
                start += len(part)
        label, path, generator = (self.table[name].to_numpy()[order] for name in ("label", "path", "generator"))
        return LabeledEmbeddings(x, label, path, self.widths, generator.astype(str), self)

    def embeddings(self, view: str, indices: Ints | slice = slice(None)) -> Floats:
        """Return the embeddings (n, D) float32 of the rows of ``table`` at ``indices``."""
        indices = np.arange(len(self.table))[indices]
        result = np.empty((len(indices), sum(self.widths)), np.float32)
        self._copy_embeddings(view, indices, result)
        return result

    def _copy_embeddings(self, view: str, indices: Ints, out: Floats) -> None:
        rows, numbers, start, done = self.table.index.to_numpy()[indices], self._file_numbers(indices), 0, 0
        for number, files in enumerate(self.files):
            chosen, column = rows[numbers == number] - start, 0
            for file in files:
                width = file.view(view).shape[1]
                file.copy_rows(view, chosen, out[done : done + len(chosen), column : column + width])
                column += width
            start, done = start + len(files[0]), done + len(chosen)

    def _file_numbers(self, indices: Ints) -> Ints:
        ends = np.cumsum([len(files[0]) for files in self.files])
        return np.searchsorted(ends, self.table.index.to_numpy()[indices], side="right")

    @cached_property
    def status(self) -> NDArray[Any]:
        """(N,) str: ``ok``, or why the first file without an embedding of the row has none."""
        columns = [
            reduce(lambda status, file: np.where(status == OK, file.status, status), others, first.status)
            for first, *others in self.files
        ]
        return np.concatenate(columns)[self.table.index]

    @property
    def messages(self) -> dict[int, str]:
        """More about rows that failed, by their index; files do not hold it."""
        return {}

    @property
    def views(self) -> list[str]:
        """The views that all files of the first manifest hold, ``clean`` first; none without files."""
        common = set.intersection(*(set(file.views) for file in self._first)) if self.files else set()
        return sorted(common, key=lambda name: (name != "clean", name))

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the backbones, in the order of the columns; an older file of several backbones counts as one."""
        widths = [file.attributes.get("widths", [file.view(self.views[0]).shape[1]]) for file in self._first]
        return tuple(width for of_file in widths for width in of_file)

    @property
    def fingerprints(self) -> list[str]:
        """Of the backbones, in the order of the columns."""
        return [fingerprint for file in self._first for fingerprint in file.attributes["fingerprint"]]

    @property
    def backbones(self) -> list[dict[str, Any]]:
        """The settings by which equal embeddings can be computed again."""
        return [file.attributes["backbone"] for file in self._first if "backbone" in file.attributes]

    @property
    def embedding_paths(self) -> list[Path]:
        return [file.path for files in self.files for file in files]

    @property
    def _first(self) -> list[EmbeddingFile]:
        return self.files[0] if self.files else []


def open_dataset(table: pd.DataFrame, paths: Sequence[Path]) -> Samples:
    """Join a manifest with its embedding files; InputError where a file was computed from another manifest."""
    return _join(table, [embedding_files.read(path) for path in paths])


def _join(table: pd.DataFrame, files: list[EmbeddingFile]) -> Samples:
    for file in files:
        if "backbone" in file.attributes and (revision := file.attributes.get("decoding", 1)) != DECODING:
            raise InputError(f"{file.path}: decoded by revision {revision}, want {DECODING}; extract again")
        if len(file) != len(table):
            raise InputError(f"{file.path}: {len(file)} rows, but the manifest has {len(table)}; extract again")
        if "sha256" in table:
            differ = (file.key != table["sha256"].to_numpy(KEY)) & file.ok & (table["sha256"] != "").to_numpy()
            if differ.any():
                path = table["path"].iloc[int(differ.argmax())]
                raise InputError(f"{file.path}: row of {path} holds another image; extract again")
    seeds = [file.attributes["seed"] for file in files if "backbone" in file.attributes]
    return Samples(table.reset_index(drop=True), seed=seeds[0] if seeds else 0, files=[files])


def without_train(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a scores file has: those of val and test."""
    return table[table["split"] != "train"]


def open_to_score(path: Path, embeddings: Path | None, root: Path, seed: int) -> Samples:
    """Open the val and test images of a manifest; the embedding file holds all images, or these alone."""
    table = manifest.read(path)
    rows = without_train(table)
    if embeddings is None:
        return Samples(rows, root, seed)
    file = embedding_files.read(embeddings)
    return _join(rows if len(file) == len(rows) else table, [file]).subset("val", "test")


def open_samples(
    manifests: Mapping[str, Path], embeddings: Sequence[Path] = (), root: Path = Path(), seed: int = 0
) -> Samples:
    """Open manifests with their embedding files: of one manifest, several files stand side by side.

    Where a manifest has a name, its paths in ``table`` begin with it. InputError where files and manifests do not
    belong together.
    """
    tables = {name: manifest.read_to_learn(path) for name, path in manifests.items()}
    if len(tables) > 1 and len(embeddings) != len(tables):
        raise InputError(f"{len(tables)} manifests and {len(embeddings)} embedding files: want one for each")
    named = [rows.assign(path=f"{name}/" + rows["path"]) if name else rows for name, rows in tables.items()]
    paths = [embeddings] if len(tables) == 1 else [[path] for path in embeddings]
    opened = [open_dataset(rows, files) for rows, files in zip(tables.values(), paths, strict=True) if files]
    files = [files for samples in opened for files in samples.files]
    return Samples(pd.concat(named, ignore_index=True), root, opened[0].seed if opened else seed, files)


def join(datasets: Iterable[Samples], split: str, views: Sequence[str] = ("clean",)) -> LabeledEmbeddings:
    """Return a split of several datasets of the same widths, one below the other."""
    parts = [dataset.split(split, views) for dataset in datasets]
    x, y, paths, generators = (
        np.concatenate([getattr(part, column) for part in parts]) for column in ("x", "y", "paths", "generators")
    )
    return LabeledEmbeddings(x, y, paths, parts[0].widths, generators, parts[0].origin)


def require_both_classes(rows: LabeledEmbeddings, split: str) -> None:
    """Raise InputError unless the rows hold real and generated images."""
    if len(rows) == 0 or rows.y.min() == rows.y.max():
        num_fake = int(rows.y.sum())
        raise InputError(f"split {split}: {len(rows) - num_fake} real and {num_fake} generated images; need both")


def require_finite(rows: LabeledEmbeddings, split: str) -> None:
    """Raise InputError that names the rows whose embeddings hold NaN or infinity."""
    blocks = [np.isfinite(rows.x[start : start + BLOCK]).all(axis=1) for start in range(0, len(rows.x), BLOCK)]
    indices = np.flatnonzero(~np.concatenate(blocks)) if blocks else np.empty(0, np.int64)
    if len(indices):
        names = [f"row {index + 1}" if rows.paths is None else str(rows.paths[index]) for index in indices[:5]]
        more = f" and {len(indices) - len(names)} more" if len(indices) > len(names) else ""
        raise InputError(f"split {split}: NaN or infinity in the embedding of {', '.join(names)}{more}")


def mean_and_std(x: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and deviation of each column of (N, D), (D,) float64; a constant column's deviation counts as 1."""
    mean = x.mean(axis=0, dtype=np.float64)
    squares = (np.square(x[start : start + BLOCK] - mean).sum(axis=0) for start in range(0, len(x), BLOCK))
    std = np.sqrt(sum(squares) / len(x))
    std[std == 0] = 1
    return mean, std


def unit_rows(x: Floats) -> Floats:
    """Return rows (N, D) scaled to length 1."""
    lengths: Floats = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x / lengths


def class_names(generators: NDArray[Any], split: str) -> list[str]:
    """Return ``real`` and then the generators of a split, sorted; InputError unless there are both."""
    names = sorted({*generators.tolist()} - {"real"})
    if not names or "real" not in generators:
        raise InputError(f"split {split}: no {'generated' if not names else 'real'} images; need both")
    return ["real", *names]


def encode_labels(generators: NDArray[Any], classes: Sequence[str], split: str) -> Ints:
    """Return the index (N,) int64 of each row's generator in ``classes``; InputError where the two sets differ."""
    names = generators.tolist()
    if missing := [name for name in classes if name not in names]:
        raise InputError(f"split {split}: no image of class {missing[0]!r}, which train has")
    if unknown := sorted(set(names) - set(classes)):
        raise InputError(f"split {split}: generator {unknown[0]!r} is not in train; known: {', '.join(classes)}")
    return np.array([classes.index(name) for name in names], np.int64)
