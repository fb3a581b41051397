"""The files of a bundle, and the fields of its ``model.json``, each with its type and range."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from aigid.core.params import Settings, validate

METADATA = "model.json"
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
