"""The examination of a dataset before anyone trains on it, and the properties of its images for controls."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from aigid.core import traits
from aigid.core.console import printable
from aigid.core.errors import InputError
from aigid.core.params import Settings
from aigid.core.paths import AnyPath
from aigid.core.seeding import derive_seed
from aigid.data.audit import ALL_FEATURES, Association, Audit, Count, SubsetResult, duplicates, findings
from aigid.data.audit.predictability import num_units, univariate_and_joint_auroc
from aigid.images import Status, Unreadable, properties
from aigid.images.hashing import with_hashes
from aigid.images.properties import MISSING

MAX_VALUES = 2  # of a feature that are named
MAX_ROWS = 5000  # of a part that its container is measured on: an AUROC of 0.5 is then known to 0.02
Rows = NDArray[np.int64]  # positions in the manifest


def subsets(table: pd.DataFrame) -> Iterator[tuple[str, str, Rows]]:
    """Yield kind, name and rows of all images, each split, and each generator with the reals it is evaluated with.

    Those are the reals of its splits, and only those of its ``source`` where reals of its source are there.
    """
    yield "all", "all", np.arange(len(table))
    for split in table["split"].unique():
        yield "split", split, np.flatnonzero(table["split"] == split)
    is_real = table["label"].to_numpy() == 0
    for generator in sorted(table["generator"][~is_real].unique()):
        fakes = (table["generator"] == generator).to_numpy()
        reals = is_real & table["split"].isin(table["split"][fakes].unique()).to_numpy()
        if "source" in table:
            sources = set(table["source"][fakes]) - {""}
            paired = reals & table["source"].isin(sources).to_numpy()
            reals = paired if paired.any() else reals
        yield "generator", generator, np.flatnonzero(fakes | reals)


def priorities(table: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """Return a random priority (N,) for each row by the seed and its path, whatever other rows there are."""
    return np.array([derive_seed("audit", seed, printable(path)) for path in table["path"]])


def sample(table: pd.DataFrame, rows: Rows, priority: NDArray[np.int64], n: int) -> Rows:
    """Return at most ``n`` of the ``rows``, in manifest order, as even over classes as they allow.

    Within a class they are as even over splits and generators; of these, those of the lowest ``priority``.
    """
    if len(rows) <= n:
        return rows
    part = table.iloc[rows][["label", "split", "generator"]].assign(priority=priority[rows], row=rows)
    part = part.sort_values("priority")
    part["turn"] = part.groupby(["label", "split", "generator"]).cumcount()
    part = part.sort_values(["turn", "priority"])
    part["turn"] = part.groupby("label").cumcount()
    return np.sort(part.sort_values("turn", kind="stable")["row"].to_numpy()[:n])


def independence_groups(table: pd.DataFrame) -> NDArray[np.int64]:
    """Return the unit (N,) of each row: rows of one ``group``, else of one ``sha256``, belong together."""
    names = "path " + table["path"]
    for column in ("sha256", "group"):
        if column in table:
            names = names.where(table[column] == "", f"{column} " + table[column])
    return pd.factorize(names)[0]


def describe_values(values: pd.Series) -> str:
    """Return ``512 (93 %)``, the commonest values; or where none stands out ``median 480 (333 to 640)``."""
    shares = values.value_counts(normalize=True)
    if pd.api.types.is_numeric_dtype(values) and shares.iloc[0] < 0.3:
        low, middle, high = map(_text, values.quantile([0.05, 0.5, 0.95]))
        return f"median {middle} ({low} to {high})"
    return ", ".join(f"{_text(value)} ({share * 100:.0f} %)" for value, share in shares.head(MAX_VALUES).items())


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value == MISSING:
        return "none"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


class AuditSettings(Settings):
    """How closely a dataset is looked at, and what is too much."""

    max_images: Annotated[int, Field(ge=2)] = 1500  # images whose pixels are looked at, even over classes
    auroc_threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.6  # of the container; above, the dataset is refused


def run_audit(table: pd.DataFrame, root: AnyPath, settings: AuditSettings, seed: int) -> Audit:
    """Return the audit of a manifest whose images lie below ``root``; InputError where none of them does.

    All headers are read, and the pixels of ``settings.max_images`` images, drawn evenly from classes, splits and
    generators; also whole files where the manifest gives no ``sha256``.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    table, folder = table.reset_index(drop=True), str(root.resolve())
    priority = priorities(table, seed)
    inspected = properties.inspect(
        table["path"].tolist(), folder, lambda rows: sample(table, rows, priority, settings.max_images)
    )
    _refuse_other_root(table, root, inspected.unreadable)
    table = with_hashes(table, root)
    return findings.build_audit(
        settings.auroc_threshold,
        num_sampled=len(inspected.sample),
        counts=_count(table, inspected.unreadable),
        parts=_audit_subsets(table, inspected.headers[[*properties.CONTAINER_COLUMNS]], inspected.cues, priority, seed),
        copies=duplicates.exact_duplicates(table)
        + duplicates.near_duplicates(table.loc[inspected.cues.index], inspected.hashes),
        straddling=duplicates.groups_across_splits(table),
        unreadable=inspected.unreadable,
    )


def _refuse_other_root(table: pd.DataFrame, root: AnyPath, unreadable: list[Unreadable]) -> None:
    if all(image.status == Status.MISSING for image in unreadable) and len(unreadable) == len(table):
        first = f"such as {unreadable[0].path}: {unreadable[0].message}"
        raise InputError(f"{root}: none of the manifest's {len(table)} images is there, {first}")


def _count(table: pd.DataFrame, unreadable: list[Unreadable]) -> list[Count]:
    bad = table["path"].isin({image.path for image in unreadable})
    cells = table.assign(bad=bad).groupby(["split", "generator"])["bad"].agg(["size", "sum"]).reset_index()
    return [
        Count(str(cell["split"]), str(cell["generator"]), int(cell["size"]), int(cell["sum"]))
        for cell in cells.to_dict("records")
    ]


def _audit_subsets(
    table: pd.DataFrame, headers: pd.DataFrame, shallow: pd.DataFrame, priority: Rows, seed: int
) -> list[SubsetResult]:
    cache: dict[bytes, tuple[list[Association], list[str]]] = {}
    labels, units = table["label"].to_numpy(), independence_groups(table)

    def measure(features: pd.DataFrame, rows: np.ndarray, family: str) -> tuple[list[Association], list[str]]:
        rows = sample(table, rows[np.isin(rows, features.index)], priority, MAX_ROWS)
        key = family.encode() + rows.tobytes()
        if key not in cache:  # one generator in one split is all there is
            cache[key] = _feature_associations(features.loc[rows], labels[rows], units[rows], family, seed)
        return cache[key]

    parts = []
    for kind, name, rows in subsets(table):
        container, no_container = measure(headers, rows, "container")
        cues, no_cues = measure(shallow, rows, "shallow")
        y = labels[rows]
        counts = int((y == 0).sum()), int((y == 1).sum()), min(num_units(y, units[rows]))
        parts.append(SubsetResult(kind, name, *counts, container, cues, no_container + no_cues))
    return parts


def _feature_associations(
    features: pd.DataFrame, labels: np.ndarray, units: np.ndarray, family: str, seed: int
) -> tuple[list[Association], list[str]]:
    reals, fakes = num_units(labels, units)
    required = 2 if (features.nunique() > 1).any() else 1
    if min(reals, fakes) < required:
        counts = f"{reals} real and {fakes} generated independent images (a group is one)"
        return [], [f"{family}: {counts}, want {required}"]
    single, joint = univariate_and_joint_auroc(features, labels, units, seed)
    result = [Association(ALL_FEATURES, **asdict(joint))]
    for name, estimate in zip(features, single, strict=True):
        real, fake = (describe_values(features[name][labels == label]) for label in (0, 1))
        result.append(Association(str(name), **asdict(estimate), real=real, fake=fake))
    return result, []


class PropertySettings(Settings):
    """How many images' pixels are looked at."""

    max_images: Annotated[int, Field(ge=1)]  # of each split, even over classes and generators


def compute_properties(
    table: pd.DataFrame, root: AnyPath, num: int, seed: int
) -> tuple[pd.DataFrame, list[Unreadable]]:
    """Return the properties of a manifest's images, row by row, and which images could not be read.

    The columns are ``path``, ``CONTAINER`` and ``SHALLOW``. The latter are empty but for ``num`` images of each
    split, chosen evenly from classes and generators; everything is empty where an image has no header.
    """
    table, folder = table.reset_index(drop=True), str(root.resolve())
    priority, splits = priorities(table, seed), table["split"].to_numpy()

    def draw(rows: np.ndarray) -> np.ndarray:
        parts = [rows[splits[rows] == split] for split in ("train", "val", "test")]
        return np.sort(np.concatenate([sample(table, part, priority, num) for part in parts]))

    inspected = properties.inspect(table["path"].tolist(), folder, draw)
    known = inspected.headers[[*traits.CONTAINER]].join(inspected.cues[[*traits.SHALLOW]])
    return known.reindex(table.index).assign(path=table["path"])[["path", *known.columns]], inspected.unreadable
