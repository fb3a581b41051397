"""Embeddings joined with the manifest that says what each row is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.core import embeddings as embedding_files
from aigid.core.errors import InputError


@dataclass(frozen=True)
class LabeledEmbeddings:
    """Labelled embeddings: ``x`` (N, D) float32, ``y`` (N,) int64 (0 real, 1 generated).

    ``paths`` (N,) name the rows; ``widths`` are those of the towers whose embeddings stand side by side. ``generators``
    (N,) say which, ``real`` for photographs; only detectors that name the generator need them.
    """

    x: np.ndarray
    y: np.ndarray
    paths: np.ndarray | None = None
    widths: tuple[int, ...] = ()
    generators: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class EmbeddedDataset:
    """A manifest and one or several embedding files of it, whose embeddings stand side by side."""

    manifest: pd.DataFrame
    files: list[embedding_files.EmbeddingFile]

    @property
    def status(self) -> np.ndarray:
        """(N,) str: ``ok``, or why the first file that lacks the row lacks it."""
        status = self.files[0].status
        for file in self.files[1:]:
            status = np.where(status == embedding_files.OK, file.status, status)
        return status

    @property
    def fingerprints(self) -> list[str]:
        """Of every tower, in the order of the columns."""
        return [fingerprint for file in self.files for fingerprint in file.attributes["fingerprint"]]

    @property
    def widths(self) -> tuple[int, ...]:
        """Of every tower, in the order of the columns; an older file of several towers counts as one."""
        widths = [file.attributes.get("widths", [file.view(self.views[0]).shape[1]]) for file in self.files]
        return tuple(width for of_file in widths for width in of_file)

    @property
    def views(self) -> list[str]:
        """The views that all files hold, ``clean`` first."""
        common = set.intersection(*(set(file.views) for file in self.files))
        return sorted(common, key=lambda name: (name != "clean", name))

    def embeddings(self, view: str, places: np.ndarray | slice = slice(None)) -> np.ndarray:
        """(N, D) float32 of the rows at ``places``."""
        return np.concatenate([file.view(view)[places].astype(np.float32) for file in self.files], axis=1)

    def split(self, name: str, view: str = "clean") -> LabeledEmbeddings:
        """The readable rows of one split."""
        places = np.flatnonzero((self.manifest["split"] == name).to_numpy() & (self.status == embedding_files.OK))
        labels, paths, generators = (
            self.manifest[column].to_numpy()[places] for column in ("label", "path", "generator")
        )
        return LabeledEmbeddings(self.embeddings(view, places), labels, paths, self.widths, generators.astype(str))

    def split_in(self, name: str, views: Sequence[str]) -> LabeledEmbeddings:
        """The readable rows of one split in several views, one view below the other."""
        return joined([self.split(name, view) for view in views])


def joined(parts: Sequence[LabeledEmbeddings]) -> LabeledEmbeddings:
    """Return rows of several data sets of the same widths, one below the other."""
    x, y, paths, generators = (
        np.concatenate([getattr(part, of) for part in parts]) for of in ("x", "y", "paths", "generators")
    )
    return LabeledEmbeddings(x, y, paths, parts[0].widths, generators)


def open_dataset(manifest: pd.DataFrame, paths: Sequence[Path]) -> EmbeddedDataset:
    """Join them; InputError where an embedding file was made from another manifest."""
    files = [embedding_files.read(path) for path in paths]
    for file in files:
        if len(file.key) != len(manifest):
            raise InputError(f"{file.path}: {len(file.key)} rows, but the manifest has {len(manifest)}; extract again")
        if "sha256" in manifest:
            differ = (file.key != manifest["sha256"].to_numpy(str)) & file.ok & (manifest["sha256"] != "").to_numpy()
            if differ.any():
                path = manifest["path"].iloc[int(differ.argmax())]
                raise InputError(f"{file.path}: row of {path} holds another image; extract again")
    return EmbeddedDataset(manifest, files)


def require_both_classes(rows: LabeledEmbeddings, split: str) -> None:
    """InputError unless the rows hold reals and fakes."""
    if len(rows) == 0 or rows.y.min() == rows.y.max():
        num_fake = int(rows.y.sum())
        raise InputError(f"split {split}: {len(rows) - num_fake} real and {num_fake} generated images; need both")


def require_finite(rows: LabeledEmbeddings, split: str) -> None:
    """InputError that names the rows whose embeddings hold NaN or infinity."""
    places = np.flatnonzero(~np.isfinite(rows.x).all(axis=1))
    if len(places):
        names = [f"row {place + 1}" if rows.paths is None else str(rows.paths[place]) for place in places[:5]]
        more = f" and {len(places) - len(names)} more" if len(places) > len(names) else ""
        raise InputError(f"split {split}: NaN or infinity in the embedding of {', '.join(names)}{more}")


def mean_and_std(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each column of (N, D), (D,) float64; a constant column's deviation counts as 1."""
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    std[std == 0] = 1
    return mean, std


def class_names(generators: np.ndarray, split: str) -> list[str]:
    """``real`` and then the generators of a split, sorted; InputError unless there are both."""
    names = sorted(set(generators.tolist()) - {"real"})
    if "real" not in generators or not names:
        raise InputError(f"split {split}: no {'generated' if not names else 'real'} images; need both")
    return ["real", *names]


def encode_labels(generators: np.ndarray, classes: list[str], split: str) -> np.ndarray:
    """(N,) int64, the place of each row's generator in ``classes``; InputError where a class or a name has no other."""
    if lacking := [name for name in classes if name not in generators]:
        raise InputError(f"split {split}: no image of class {lacking[0]!r}, which train has")
    if unknown := sorted(set(generators.tolist()) - set(classes)):
        raise InputError(f"split {split}: generator {unknown[0]!r} is not in train; known: {', '.join(classes)}")
    return np.array([classes.index(name) for name in generators], np.int64)
