"""A tree of aligned pairs from a manifest's photographs: each beside its fake, alike in all but the pixels."""

import json
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from aigid.aligned import engine, generator, images
from aigid.aligned.engine import FakeBatcher, prefetch
from aigid.aligned.generator import AlignSettings
from aigid.core import manifest, ray
from aigid.core.errors import InputError
from aigid.core.files import choose_device, device_name, engine_from_env, write_json, write_text
from aigid.core.paths import AnyPath
from aigid.features import checkpoints
from aigid.images.decode import decode

RECORD, ABOUT, MANIFEST = "aligned.jsonl", "align.json", "manifest.csv"
RECORDED_VERSIONS = ("diffusers", "numpy", "pillow", "spandrel", "torch")
PSNR_RANGE = (15.0, 50.0)  # dB: where the median pair of a working generator lies; published ones reach 20 to 35
PSNR_IDENTICAL = 100.0  # dB, said of two equal images


@dataclass(frozen=True)
class AlignmentReport:
    """What became of the photographs: their (path, reason) where there is no pair, and the pairs' PSNR in dB."""

    failed: list[tuple[str, str]]
    psnr: list[float]
    num_made: int  # fakes that were not on the shelf

    def describe(self) -> Iterator[str]:
        """A line on the pairs, and one of doubt where they are too alike or too unlike."""
        low, middle, high = np.percentile(self.psnr, [5, 50, 95])
        yield f"{len(self.psnr)} pairs, {self.num_made} fakes made anew; PSNR {middle:.1f} dB ({low:.1f} to {high:.1f})"
        if not PSNR_RANGE[0] <= middle <= PSNR_RANGE[1]:
            yield f"PSNR is not within {PSNR_RANGE[0]:g} to {PSNR_RANGE[1]:g} dB: are these the right weights?"


def make_aligned_pairs(
    table: pd.DataFrame, root: AnyPath, settings: AlignSettings, out: Path, on: str | None = None
) -> AlignmentReport:
    """Write each photograph of a manifest and its fake to ``<split>/real/<path>`` and ``<split>/fake/<path>``.

    ``out`` also gets ``manifest.csv``, ``aligned.jsonl`` (a line a pair) and ``align.json`` (what made them). It is
    written beside its place and moved there at the end; an earlier alignment in its place is replaced. InputError where
    ``out`` holds anything else, for weights that do not fit, where no photograph can be read. ``on`` is
    ``local`` or ``ray``, else ``$AIGID_ENGINE`` does: where fakes are made; they are put into files here.
    """
    run = ray.choose(on or engine_from_env(), engine.run_local, engine.run)
    generator.check_domain(settings.domain)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if out.exists() and any(out.iterdir()) and not (out / RECORD).is_file():
        raise InputError(f"{out}: not empty, and no earlier alignment")
    reals = table[table["label"] == 0]
    if reals.empty:
        raise InputError("the manifest holds no photograph (label 0)")
    device = choose_device(device_name())
    fakes = FakeBatcher(generator.load_generator(settings), settings, device)
    unread = run(fakes, settings, root, reals["path"].tolist())
    if len(unread) == len(reals):
        path, why = next(iter(unread.items()))
        raise InputError(
            f"{root}: none of the manifest's {len(reals)} photographs can be aligned, such as {path}: {why}"
        )
    rows = reals[~reals["path"].isin(unread.keys())].to_dict("records")
    with _replace_dir(out) as part:
        done = list(prefetch(lambda row: _write(row, root, part, fakes, settings), rows, "pairs"))
        _finish(part, done, settings, fakes)
    return AlignmentReport(list(unread.items()), [record["psnr"] for record, _ in done], fakes.num_made)


@contextmanager
def _replace_dir(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when the block ends, and vanishes when it fails."""
    part = out.absolute().with_name(f".{out.absolute().name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a call that was killed
    try:
        yield part
        shutil.rmtree(out, ignore_errors=True)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(row: dict, root: AnyPath, out: Path, fakes: FakeBatcher, settings: AlignSettings) -> tuple[dict, list[dict]]:
    """Write one pair; its line for the record, and its two rows for the manifest."""
    photograph = images.read(root / row["path"], fakes.maker.multiple)
    fake = fakes.shelf.get(photograph.digest, photograph.pixels.shape)
    if fake is None:
        raise InputError(f"{row['path']}: changed while it was aligned")
    file = images.container_like(photograph.head, photograph.pixels, settings.container)
    content = {"real": file.encode(photograph.pixels), "fake": file.encode(fake)}
    paths = {kind: f"{row['split']}/{kind}/{file.name(row['path'])}" for kind in content}
    for kind, path in paths.items():  # no need to be atomic: the whole folder is
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content[kind])
    height, width = photograph.pixels.shape[:2]
    members = [decode(content[kind]) for kind in ("real", "fake")]
    record = {**paths, "photograph": row["path"], "sha256": photograph.digest, "width": width, "height": height}
    quality = {} if photograph.head.quality is None else {"quality": photograph.head.quality}
    shared = row | {"group": row.get("group") or row["path"], "extra_quality": quality.get("quality", "")}
    rows = [
        shared | {"path": paths[kind], "label": label, "generator": name, "sha256": sha256(content[kind]).hexdigest()}
        for label, (kind, name) in enumerate([("real", "real"), ("fake", settings.domain)])
    ]
    return record | quality | {"psnr": round(psnr(*members), 3)}, rows


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """The peak signal-to-noise ratio in dB of two uint8 images, at most ``IDENTICAL``."""
    error = np.square(a.astype(np.float64) - b).mean()
    return float(min(10 * np.log10(255**2 / error), PSNR_IDENTICAL)) if error else PSNR_IDENTICAL


def _finish(out: Path, done: list[tuple[dict, list[dict]]], settings: AlignSettings, fakes: FakeBatcher) -> None:
    write_text(out / RECORD, "".join(json.dumps(record) + "\n" for record, _ in done))
    facts = {"settings": settings.model_dump(mode="json"), **fakes.about}
    facts["weights_files"] = checkpoints.hashes(settings.weights)
    facts["versions"] = {"python": platform.python_version()} | {name: version(name) for name in RECORDED_VERSIONS}
    write_json(out / ABOUT, facts)
    manifest.write(pd.DataFrame([row for _, rows in done for row in rows]).fillna(""), out / MANIFEST)
