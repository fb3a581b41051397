"""Write a tree of aligned pairs: each real image of a manifest and its fake, equal in all but the pixels."""

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
from PIL import Image

from aigid.aligned import engine as engines
from aigid.aligned.engine import FakeBatcher, read_cropped
from aigid.aligned.generator import AlignSettings, Pixels, check_domain, load_generator
from aigid.core import manifest, ray
from aigid.core.errors import InputError, package_versions, parse_json
from aigid.core.files import choose_device, device_name, engine_from_env, write_json, write_text
from aigid.core.folders import replace_folder
from aigid.core.paths import AnyPath
from aigid.degradations.filters import match_laplacian, match_local_energy
from aigid.features import weights
from aigid.images import has_color
from aigid.images.decode import decode
from aigid.images.headers import Header
from aigid.images.properties import laplacian_energy

RECORD, SETTINGS, MANIFEST = "aligned.jsonl", "align.json", "manifest.csv"
RECORDED_VERSIONS = ("diffusers", "numpy", "pillow", "spandrel", "torch")
PSNR_RANGE = (15.0, 50.0)  # dB: where the median pair of a working generator lies; published ones reach 20 to 35
LAPLACIAN_RANGE = (0.7, 1.3)  # of `laplacian_share`, where fakes have traces, not blur
PSNR_IDENTICAL = 100.0  # dB, of two equal images
JPEG, PNG = (".jpg", ".jpeg"), (".png",)
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")  # that Pillow writes
Pair = tuple[dict[str, Any], list[dict[Any, Any]]]  # its line for the record, and its two rows for the manifest


@dataclass(frozen=True)
class AlignmentReport:
    """(path, reason) of the images without a pair, the pairs' PSNR in dB, and the number of fakes not in the cache.

    ``laplacian`` holds the Laplacian energy of each real image and of its fake.
    """

    failures: list[tuple[str, str]]
    psnr: list[float]
    laplacian: list[tuple[float, float]]
    num_made: int

    def describe(self) -> Iterator[str]:
        """Yield a line on the pairs, and warnings where they are too alike or too unlike."""
        low, median, high = np.percentile(self.psnr, [5, 50, 95])
        yield f"{len(self.psnr)} pairs, {self.num_made} fakes made anew; PSNR {median:.1f} dB ({low:.1f} to {high:.1f})"
        if not PSNR_RANGE[0] <= median <= PSNR_RANGE[1]:
            yield f"PSNR is not within {PSNR_RANGE[0]:g} to {PSNR_RANGE[1]:g} dB: are these the right weights?"
        if not LAPLACIAN_RANGE[0] <= (share := laplacian_share(self.laplacian)) <= LAPLACIAN_RANGE[1]:
            limits = f"want {LAPLACIAN_RANGE[0]:g} to {LAPLACIAN_RANGE[1]:g}"
            yield f"fakes have {share:.2f} of the real images' Laplacian energy, {limits}: blur or noise shows"


def laplacian_share(laplacian: Sequence[Sequence[float]]) -> float:
    """Return the mean Laplacian energy of the fakes over that of the real images (N, 2); 1 where none has any."""
    real, fake = np.mean(laplacian, axis=0)
    return float(fake / real) if real else 1.0 + float(fake)


@dataclass(frozen=True)
class Encoding:
    """How both members of a pair are written: by the same encoder and settings, without metadata."""

    suffixes: tuple[str, ...]  # of which the first is appended to a name that has none
    mode: Literal["L", "RGB"]
    options: dict[str, Any]

    def name(self, path: str) -> str:
        """Return the image's path, with a suffix appended where its own belongs to another format."""
        return path if path.lower().endswith(self.suffixes) else path + self.suffixes[0]

    def encode(self, pixels: Pixels) -> bytes:
        """Return (H, W, 3) uint8 as a file; a gray one has the luma alone."""
        buffer = BytesIO()
        Image.fromarray(pixels).convert(self.mode).save(buffer, **self.options)
        return buffer.getvalue()


def container_like(header: Header, pixels: Pixels, kind: Literal["own", "png"]) -> Encoding:
    """Return the encoding for an image with that header and pixels (H, W, 3): JPEG as JPEG, all else as PNG.

    A JPEG is written by its own tables on its own grid, where its coefficients lie already, so that a second
    compression changes next to nothing; its fake is compressed by the same. An image without color makes both members
    gray, as a fake's faint color would give it away.
    """
    mode: Literal["L", "RGB"] = "RGB" if has_color(pixels) else "L"
    if header.format != "JPEG" or kind == "png":
        return Encoding(PNG, mode, {"format": "PNG"})
    tables = [np.minimum(table, 255).tolist() for table in header.quantization_tables[: 1 if mode == "L" else 2]]
    subsampling = header.subsampling if header.subsampling in SUBSAMPLINGS else "4:2:0"
    return Encoding(JPEG, mode, {"format": "JPEG", "qtables": tables, "subsampling": subsampling})


def read_quality_map(path: AnyPath) -> dict[str, int]:
    """Return JPEG qualities by the names of images, as DDA's ``MSCOCO_train2017.json`` holds them; InputError."""
    try:
        values = parse_json(path.read_bytes())
        qualities = {name: int(value) for name, value in values.items()}
    except (OSError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: no map of names to qualities: {error}") from None
    for name, quality in qualities.items():
        if not 1 <= quality <= 100:
            raise InputError(f"{path}: {name}: quality {quality}, want 1 to 100")
    return qualities


def make_aligned_pairs(
    table: pd.DataFrame,
    root: AnyPath,
    settings: AlignSettings,
    out: Path,
    engine: str | None = None,
    qualities: Mapping[str, int] | None = None,
) -> AlignmentReport:
    """Write each real image of a manifest and its fake to ``<split>/real/<path>`` and ``<split>/fake/<path>``.

    ``out`` also gets ``manifest.csv``, ``aligned.jsonl`` (a line a pair) and ``align.json`` (the settings). It appears
    when all is written; an earlier alignment is replaced. ``engine``, ``local`` or ``ray``, generates the fakes;
    default ``$AIGID_ENGINE``. ``qualities`` tells that of images that are no JPEG any more, by their files' names.
    InputError where ``out`` holds anything else or another call writes to it, for weights that do not fit, and where no
    image can be read.
    """
    run = ray.choose(engine or engine_from_env(), engines.run_local, engines.run)
    check_domain(settings.domain)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    reals = table[table["label"] == 0]
    if reals.empty:
        raise InputError("the manifest holds no real image (label 0)")
    with replace_folder(out, is_alignment, "alignment") as part:
        fakes = FakeBatcher(load_generator(settings), settings, choose_device(device_name()))
        unread = run(fakes, settings, root, reals["path"].tolist())
        if len(unread) == len(reals):
            path, message = next(iter(unread.items()))
            message = f"none of the manifest's {len(reals)} real images can be aligned, such as {path}: {message}"
            raise InputError(f"{root}: {message}")
        rows = reals[~reals["path"].isin(unread.keys())].to_dict("records")
        write = partial(_write, root=root, out=part, fakes=fakes, settings=settings, qualities=qualities or {})
        pairs = list(engines.prefetch(write, rows, "pairs"))
        _write_records(part, pairs, settings, fakes)
    psnr, laplacian = ([record[name] for record, _ in pairs] for name in ("psnr", "laplacian"))
    return AlignmentReport(list(unread.items()), psnr, laplacian, fakes.num_made)


def is_alignment(folder: Path) -> bool:
    """Return whether a folder holds an alignment's records and splits, and nothing else."""
    names = {path.name for path in folder.iterdir()}
    return RECORD in names and names <= {RECORD, SETTINGS, MANIFEST, *manifest.SPLITS}


def _write(
    row: dict[Any, Any],
    root: AnyPath,
    out: Path,
    fakes: FakeBatcher,
    settings: AlignSettings,
    qualities: Mapping[str, int],
) -> Pair:
    image = read_cropped(root / row["path"], fakes.generator.size_multiple, settings)
    fake = fakes.get(image.digest, image.pixels.shape)
    if fake is None:
        raise InputError(f"{row['path']}: changed while it was aligned")
    if settings.match_energy:
        fake = match_laplacian(match_local_energy(fake, image.pixels), image.pixels)
    encoding = container_like(image.header, image.pixels, settings.container)
    content = {"real": encoding.encode(image.pixels), "fake": encoding.encode(fake)}
    paths = {kind: f"{row['split']}/{kind}/{encoding.name(row['path'])}" for kind in content}
    for kind, path in paths.items():  # no need to be atomic: the folder is
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(content[kind])
    height, width = image.pixels.shape[:2]
    record = {**paths, "photograph": row["path"], "sha256": image.digest, "width": width, "height": height}
    known = image.header.quality or qualities.get(PurePosixPath(row["path"]).name)
    quality = {} if known is None else {"quality": known}
    shared = row | {"group": row.get("group") or row["path"], "extra_quality": quality.get("quality", "")}
    rows = [
        shared | {"path": paths[kind], "label": label, "generator": name, "sha256": sha256(content[kind]).hexdigest()}
        for label, (kind, name) in enumerate([("real", "real"), ("fake", settings.domain)])
    ]
    written = [decode(content[kind]) for kind in ("real", "fake")]
    laplacian = [round(laplacian_energy(np.asarray(Image.fromarray(pixels).convert("L"))), 3) for pixels in written]
    return record | quality | {"psnr": round(psnr(*written), 3), "laplacian": laplacian}, rows


def psnr(a: Pixels, b: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB of two uint8 images, at most ``PSNR_IDENTICAL``."""
    error = np.square(a.astype(np.float64) - b).mean()
    return float(min(10 * np.log10(255**2 / error), PSNR_IDENTICAL)) if error else PSNR_IDENTICAL


def _write_records(out: Path, pairs: list[Pair], settings: AlignSettings, fakes: FakeBatcher) -> None:
    write_text(out / RECORD, "".join(json.dumps(record) + "\n" for record, _ in pairs))
    metadata = {"settings": settings.model_dump(mode="json"), **fakes.metadata}
    metadata["weights_files"] = weights.file_digests(settings.weights)
    metadata["versions"] = {"python": platform.python_version()} | package_versions(RECORDED_VERSIONS)
    write_json(out / SETTINGS, metadata)
    manifest.write(pd.DataFrame([row for _, rows in pairs for row in rows]).fillna(""), out / MANIFEST)
