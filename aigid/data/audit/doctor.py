"""The examination of a dataset before anyone trains on it."""

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from aigid.base.errors import InputError
from aigid.base.params import Settings
from aigid.base.remote import Place
from aigid.data.audit import container, cues, duplicates, sampling, verdict
from aigid.data.audit.predictability import each_and_together, num_units
from aigid.data.audit.record import TOGETHER, Association, Audit, Count, Part
from aigid.data.audit.values import summary
from aigid.data.hashes import sha256_of
from aigid.data.reading.errors import Status, Unreadable

MOST_ROWS = 5000  # of a part that its container is judged on: an AUROC of 0.5 is then known to 0.02


class AuditSettings(Settings):
    """How closely a dataset is looked at, and what is too much."""

    max_images: Annotated[int, Field(ge=1)] = 1500  # images whose pixels are looked at
    auroc_threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.6  # of the container; above, the dataset is refused


def examine(table: pd.DataFrame, root: Place, settings: AuditSettings, seed: int) -> Audit:
    """The audit of a manifest whose images lie below ``root``; InputError where none of them does.

    All headers are read, and the pixels of ``settings.max_images`` images, drawn evenly from classes, splits and
    generators; also whole files where the manifest gives no ``sha256``.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    table, folder = table.reset_index(drop=True), str(root.resolve())
    line = sampling.ranks(table, seed)
    found = cues.inspect(
        table["path"].tolist(), folder, lambda rows: sampling.draw(table, rows, line, settings.max_images)
    )
    _refuse_other_root(table, root, found.unreadable)
    table = _with_hashes(table, folder)
    return verdict.give(
        settings.auroc_threshold,
        num_sampled=len(found.sample),
        counts=_count(table, found.unreadable),
        parts=_judge_parts(table, found.headers[[*container.CONTAINER]], found.cues, line, seed),
        copies=duplicates.exact(table) + duplicates.near(table.loc[found.cues.index], found.hashes),
        straddling=duplicates.straddling(table),
        unreadable=found.unreadable,
    )


def _refuse_other_root(table: pd.DataFrame, root: Place, unreadable: list[Unreadable]) -> None:
    if all(one.status == Status.MISSING for one in unreadable) and len(unreadable) == len(table):
        raise InputError(f"{root}: none of the manifest's {len(table)} images is there, such as {table['path'][0]}")


def _with_hashes(table: pd.DataFrame, folder: str) -> pd.DataFrame:
    known = table["sha256"] if "sha256" in table else pd.Series("", table.index, dtype=object)
    unknown = np.flatnonzero(known == "")
    found = sha256_of([f"{folder}/{table['path'][row]}" for row in unknown]) if len(unknown) else []
    return table.assign(sha256=known.mask(known == "", pd.Series(found, unknown, dtype=object)))


def _count(table: pd.DataFrame, unreadable: list[Unreadable]) -> list[Count]:
    bad = table["path"].isin({one.path for one in unreadable})
    cells = bad.groupby([table["split"], table["generator"]], sort=True)
    return [Count(split, generator, len(own), int(own.sum())) for (split, generator), own in cells]


def _judge_parts(
    table: pd.DataFrame, headers: pd.DataFrame, shallow: pd.DataFrame, line: np.ndarray, seed: int
) -> list[Part]:
    found: dict[bytes, tuple[list[Association], list[str]]] = {}
    labels, units = table["label"].to_numpy(), sampling.units(table)

    def judge(features: pd.DataFrame, rows: np.ndarray, family: str) -> tuple[list[Association], list[str]]:
        rows = sampling.draw(table, rows[np.isin(rows, features.index)], line, MOST_ROWS)
        key = family.encode() + rows.tobytes()
        if key not in found:  # one generator in one split is all there is
            found[key] = _judge(features.loc[rows], labels[rows], units[rows], family, seed)
        return found[key]

    parts = []
    for kind, name, rows in sampling.parts(table):
        (outside, why), (inside, why_too) = judge(headers, rows, "container"), judge(shallow, rows, "shallow")
        own = labels[rows]
        counts = int((own == 0).sum()), int((own == 1).sum()), min(num_units(own, units[rows]))
        parts.append(Part(kind, name, *counts, outside, inside, why + why_too))
    return parts


def _judge(
    features: pd.DataFrame, labels: np.ndarray, units: np.ndarray, family: str, seed: int
) -> tuple[list[Association], list[str]]:
    reals, fakes = num_units(labels, units)
    want = 2 if (features.nunique() > 1).any() else 1
    if min(reals, fakes) < want:
        return [], [f"{family}: {reals} real and {fakes} generated independent images (a group is one), want {want}"]
    alone, together = each_and_together(features, labels, units, seed)
    found = [Association(TOGETHER, together.auroc, together.low, together.high, together.p)]
    for name, one in zip(features, alone, strict=True):
        real, fake = (summary(features[name][labels == label]) for label in (0, 1))
        found.append(Association(name, one.auroc, one.low, one.high, one.p, real, fake))
    return found, []
