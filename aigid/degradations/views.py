"""Named views: what happens to an image depends on its content, the view's name and the seed, never on batch order."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from aigid.core import manifest, seeding
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, num_workers, write_text
from aigid.core.folders import replace_folder
from aigid.core.paths import AnyPath
from aigid.degradations.operators import AppliedOperator, Chain, Policy, apply_operators, fixed
from aigid.degradations.pixels import Pixels
from aigid.degradations.policies import (
    DELIVERY,
    EDITS,
    GENIMAGE_SIX,
    NYCU_AUG_0_TO_7,
    NYCU_SWEEP,
    POLICIES,
    QUERY_FREE,
    UFD_SWEEP,
    get_policy,
)
from aigid.images import ImageError
from aigid.images.decode import decode
from aigid.images.formats import read_bytes

CACHE_VERSION = 2  # of the operators' bytes; raise it when any operator gives other bytes than before

VIEWS: dict[str, Policy] = {
    "clean": Chain(),
    # Both classes as 512 px squares through one JPEG encoder: the cure for labels that leak through the file format.
    "normalize512": Chain(((1, ("square", {"side": 512})), (1, ("jpeg", {"quality": 90})))),
    "jpeg96": fixed("jpeg", quality=96),  # DDA's guard against PNG fakes and JPEG reals
    "jpeg75": fixed("jpeg", quality=75),
    **GENIMAGE_SIX,
    **NYCU_AUG_0_TO_7,
    **NYCU_SWEEP,
    **UFD_SWEEP,
    **DELIVERY,
    **EDITS,
    **QUERY_FREE,
    **POLICIES,  # drawn anew for each image
    "ntire_basic": POLICIES["ntire_train"],  # its older name
}


def get_view(name: str) -> Policy:
    """Return the policy behind a view; InputError lists the known views."""
    if name not in VIEWS:
        raise InputError(f"unknown view {name!r}; known: {', '.join(VIEWS)}")
    return VIEWS[name]


def sample_view(name: str, sha256: str, seed: int) -> list[AppliedOperator]:
    """Return the operators that a view applies to the image with that content hash, with sampled parameters."""
    return get_view(name).sample(seeding.numpy_generator("draw", name, seed, sha256))


def apply(name: str, image: Pixels, sha256: str, seed: int) -> tuple[Pixels, list[AppliedOperator]]:
    """Return the view of an image (H, W, 3) uint8, and the operators applied.

    ``sha256`` is the hash of the image's file. Views that resize (``lr112``, ``lr64``, ``crop...``, ``normalize512``)
    return another height and width; ``clean`` returns the image itself.
    """
    sampled = sample_view(name, sha256, seed)
    return apply_operators(sampled, image, seeding.numpy_generator("noise", name, seed, sha256)), sampled


def to_dict(name: str) -> dict[str, object]:
    """Return a view as JSON: equal definitions, seeds and hashes give equal bytes (with equal library versions)."""
    return {"view": name, "revision": CACHE_VERSION, "policy": _to_json(get_view(name))}


def policy_to_dict(name: str, removed: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return a policy as JSON for a training's fingerprint, so that none goes on under another definition."""
    return {"revision": CACHE_VERSION, name: _to_json(get_policy(name, removed))}


def _to_json(value: object) -> object:
    if hasattr(value, "_asdict"):
        return {type(value).__name__.lower(): _to_json(value._asdict())}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def export_view(table: pd.DataFrame, root: AnyPath, view: str, seed: int, out: Path) -> list[tuple[str, str]]:
    """Write every image of a manifest in a view below ``out``; return the (path, reason) of those that failed.

    ``out`` gets the images as PNG under their old paths (with ``.png`` added to a name that ends otherwise), then
    ``drawn.jsonl``, the operators and parameters of each, and last ``manifest.csv``, whose rows are those images.
    """
    get_view(view)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    paths = [path if path.endswith(".png") else path + ".png" for path in table["path"]]
    written = table.assign(path=paths)
    manifest.validate(written, str(out))

    with replace_folder(out) as part:

        def export(old: str, new: str) -> tuple[str, list[AppliedOperator], str]:
            try:
                content = read_bytes(root / old)
                image, sampled = apply(view, decode(content), hashlib.sha256(content).hexdigest(), seed)
            except ImageError as error:
                return "", [], str(error)
            with atomic_write(part / new) as file:
                Image.fromarray(image).save(file, "PNG")
                return hashlib.sha256(file.read_bytes()).hexdigest(), sampled, ""

        with ThreadPoolExecutor(num_workers()) as pool:
            images = tqdm(pool.map(export, table["path"], paths), total=len(table), unit="image", disable=None)
            digests, sampled, errors = zip(*images, strict=True)
        rows = zip(paths, sampled, errors, strict=True)
        lines = [json.dumps({"path": path, "drawn": operators}) for path, operators, error in rows if not error]
        write_text(part / "drawn.jsonl", "\n".join([*lines, ""]))
        manifest.write(written.assign(sha256=digests)[[not error for error in errors]], part / "manifest.csv")
    return [(path, error) for path, error in zip(table["path"], errors, strict=True) if error]
