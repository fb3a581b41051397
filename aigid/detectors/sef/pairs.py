"""Aligned pairs on disk, as `aigid.align.pairs.align` writes them."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aigid.base.errors import InputError
from aigid.base.files import sha256
from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode

RECORD = "aligned.jsonl"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """Some pairs of one domain; a record holds ``real``, ``fake`` (paths below ``root``), perhaps ``quality``, more."""

    root: Path
    records: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def read(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Photograph and fake, (H, W, 3) uint8; InputError where they cannot be read or differ in size."""
        record = self.records[place]
        try:
            real, fake = (decode(self.root / record[kind]) for kind in ("real", "fake"))
        except ImageError as error:
            raise InputError(f"{self.root}: pair of {record['real']}: {error}") from None
        if real.shape != fake.shape:
            raise InputError(f"{self.root}: pair of {record['real']}: {real.shape[:2]} and {fake.shape[:2]} px")
        return real, fake

    def split(self, name: str) -> "Pairs":
        """Those of ``train``, ``val`` or ``test``."""
        return Pairs(self.root, [record for record in self.records if record["real"].startswith(f"{name}/")])

    def warn_of_small(self, crop: int) -> None:
        """A line on stderr where photographs are smaller than the crop: they are padded with black, as in DDA."""
        small = [record for record in self.records if min(record["width"], record["height"]) < crop]
        if small:
            size = f"{small[0]['width']} x {small[0]['height']} px"
            count = f"{len(small)} of {len(self)} photographs are smaller than the crop of {crop} px"
            LOG.warning("%s: %s and are padded, such as %s of %s", self.root, count, small[0]["real"], size)


def open_pairs(root: Path) -> Pairs:
    """All pairs of a folder; InputError where it holds none, or where one lacks its partner."""
    try:
        lines = (root / RECORD).read_text(encoding="utf-8").splitlines()
    except OSError:
        raise InputError(f"{root}: no {RECORD}; `aigid align` writes it") from None
    records = [json.loads(line) for line in lines]
    paths = [record[kind] for record in records for kind in ("real", "fake")]
    if missing := [path for path in paths if not (root / path).is_file()]:
        raise InputError(f"{root}: a pair without its partner: no {missing[0]} ({len(missing)} such files)")
    if not records:
        raise InputError(f"{root}: no pairs")
    return Pairs(root, records)


def fingerprint(root: Path) -> str:
    """Equal where all images of a folder's pairs are equal."""
    return sha256(root / "manifest.csv")
