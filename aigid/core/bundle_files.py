"""The files of a bundle, and the fields of its ``model.json``, each with its type and range."""

import hashlib
import json
import operator
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from safetensors.numpy import load_file

from aigid.core.errors import InputError, input_errors
from aigid.core.params import Settings, validate

METADATA = "model.json"
FLOATS = {  # safetensors' names: unsigned of that size, and the exponent that infinity and NaN have
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
BLOCK = 2**22  # numbers that are looked at at once
UNREAD_FILES = {METADATA, "README.md", ".gitattributes", ".DS_Store"}  # which may lie in a bundle without being listed
STRICT = ConfigDict(strict=True)
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class Training(Settings):
    """The dataset that a detector learnt from."""

    model_config = STRICT

    dataset: str = ""
    manifest_sha256: str = ""
    images: dict[str, dict[str, Count]] = Field(default_factory=dict)


class Origin(Settings):
    """What ``Provenance`` holds."""

    model_config = STRICT

    backbones: list[dict[str, Any]] = Field(default_factory=list)
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    training: Training = Field(default_factory=Training)
    licences: list[str] = Field(default_factory=list)
    demonstration: bool = False
    source: str = ""


class BundleMetadata(Settings):
    """A ``model.json``; settings and state are those of the detector, which checks them itself."""

    model_config = STRICT

    sha256: Digest
    schema_version: int
    detector: str
    settings: dict[str, Any]
    fingerprints: list[str]
    detector_state: dict[str, Any]
    origin: Origin
    code: dict[str, str]
    files: dict[str, Digest]


def validate_metadata(metadata: object, name: str) -> None:
    """Raise InputError naming the first field that is not what a bundle holds."""
    validate(metadata, BundleMetadata, name)


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a bundle's files and nothing else."""
    try:
        listed = set(json.loads((folder / METADATA).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return not set(list_files(folder)) - listed


def list_files(folder: Path) -> list[str]:
    """Return the POSIX paths of a bundle's files, sorted, and of links to folders and folders without files."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir() or not any(path.iterdir())]
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if name not in UNREAD_FILES)


def read_arrays(path: Path, shapes: str, *optional: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a bundle's file; InputError unless they are those of ``shapes``.

    These are as ``weight(D) bias(1)``: a letter is a size of at least 1, the same wherever it stands. Of each group of
    ``optional`` ones there are all or none.
    """
    with input_errors(f"{path}: no arrays"):
        arrays = load_file(path)
    groups = [group for group in map(_shapes, optional) if group.keys() & arrays.keys()]
    allowed = reduce(operator.or_, groups, _shapes(shapes))
    if odd := sorted(arrays.keys() ^ allowed.keys()):
        raise InputError(f"{path}: array {odd[0]!r} is {'missing' if odd[0] in allowed else 'not of this model'}")
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        known = [sizes.setdefault(size, array.shape[axis]) if size.isalpha() else int(size)
                 for axis, size in enumerate(allowed[name][: array.ndim])]  # fmt: skip
        if array.shape != tuple(known) or array.ndim != len(allowed[name]) or not array.size:
            raise InputError(f"{path}: array {name!r} has the shape {array.shape}, want ({', '.join(allowed[name])})")
    return arrays


def _shapes(text: str) -> dict[str, list[str]]:
    return {name: sizes.split(",") for name, _, sizes in (part[:-1].partition("(") for part in text.split())}


def require_saved(path: Path, sha256: str) -> None:
    """Raise InputError where a file is not the one that was saved, or one of safetensors holds NaN or infinity."""
    content: Any = np.memmap(path, np.uint8, "r") if path.stat().st_size else b""
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: not the file that was saved with this model")
    if path.suffix == ".safetensors":
        with input_errors(f"{path}: no arrays"):
            _require_finite(path, content)


def _require_finite(path: Path, content: Any) -> None:
    start = 8 + int(content[:8].view("<u8")[0])
    for name, entry in json.loads(content[8:start].tobytes()).items():
        kind, infinity = FLOATS.get(entry.get("dtype"), ("", 0))
        low, high = entry.get("data_offsets", (0, 0))
        numbers = content[start + low : start + high].view(kind) if kind else np.empty(0, "<u1")
        for part in np.array_split(numbers, -(-len(numbers) // BLOCK) or 1):
            if (part & infinity == infinity).any():
                raise InputError(f"{path}: array {name!r} holds NaN or infinity")
