"""A dataset seen through a view, written to disk: every image a PNG, and what was drawn for each."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from aigid.core import manifest
from aigid.core.errors import InputError
from aigid.core.files import atomic_write, num_workers, write_text
from aigid.core.paths import AnyPath
from aigid.degradations import operators, views
from aigid.images.decode import decode
from aigid.images.errors import ImageError
from aigid.images.formats import read_bytes

SUFFIX = ".png"


def export_view(table: pd.DataFrame, root: AnyPath, view: str, seed: int, out: Path) -> list[tuple[str, str]]:
    """Write every image of a manifest in a view below ``out``; returns the (path, reason) of those that failed.

    ``out`` gets the images under their old paths (with ``.png`` behind a name that ends otherwise), then
    ``drawn.jsonl``, the operators and parameters of each, and last ``manifest.csv``, whose rows are those images.
    """
    views.get_view(view)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: not empty")
    paths = [path if path.endswith(SUFFIX) else path + SUFFIX for path in table["path"]]
    written = table.assign(path=paths)
    manifest.validate(written, str(out))

    def one(old: str, new: str) -> tuple[str, list[operators.AppliedOperator], str]:
        try:
            content = read_bytes(root / old)
            digest = hashlib.sha256(content).hexdigest()
            image, drawn = views.apply(view, decode(content), digest, seed)
        except ImageError as error:
            return "", [], str(error)
        with atomic_write(out / new) as part:
            Image.fromarray(image).save(part, "PNG")
            return hashlib.sha256(part.read_bytes()).hexdigest(), drawn, ""

    with ThreadPoolExecutor(num_workers()) as pool:
        done = list(tqdm(pool.map(one, table["path"], paths), total=len(table), unit="image", disable=None))
    lines = [
        json.dumps({"path": new, "drawn": drawn}) for new, (_, drawn, why) in zip(paths, done, strict=True) if not why
    ]
    write_text(out / "drawn.jsonl", "\n".join([*lines, ""]))
    kept = [not why for _, _, why in done]
    manifest.write(written.assign(sha256=[digest for digest, _, _ in done])[kept], out / "manifest.csv")
    return [(old, why) for old, (_, _, why) in zip(table["path"], done, strict=True) if why]
