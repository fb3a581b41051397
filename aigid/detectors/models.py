"""A fitted detector in a folder: ``model.json`` says what it is, its arrays lie beside."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigid.detectors.protocol import Detector
from aigid.detectors.registry import find
from aigid.detectors.rows import EmbeddedDataset
from aigid.errors import InputError
from aigid.files import sha256, write_json


@dataclass(frozen=True)
class Model:
    """A detector and what it was made from."""

    name: str
    detector: Detector
    settings: dict[str, Any]
    fingerprints: list[str]  # of the backbones whose embeddings it takes, side by side


def save(model: Model, folder: Path) -> None:
    """Write the folder whole or not at all; ``model.json`` holds the sha256 of every other file."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        facts = model.detector.save(part)
        files = {file.name: sha256(file) for file in sorted(part.iterdir())}
        about = {"detector": model.name, "settings": model.settings, "fingerprints": model.fingerprints}
        write_json(part / "model.json", about | {"facts": facts, "files": files})
        part.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> Model:
    """The model in a folder; InputError where a file is missing or is not the one that was saved."""
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        for name, expected in about["files"].items():
            if sha256(folder / name) != expected:
                raise InputError(f"{folder / name}: not the file that was saved with this model")
        detector = find(about["detector"]).load(folder, about["facts"])
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{folder}: no whole model: {error}") from None
    return Model(about["detector"], detector, about["settings"], about["fingerprints"])


def require_same_backbone(model: Model, dataset: EmbeddedDataset) -> None:
    """InputError unless the dataset's embeddings are made as those that the model was trained on."""
    if dataset.fingerprints != model.fingerprints:
        raise InputError(
            f"{', '.join(str(file.path) for file in dataset.files)}: made by another backbone, weights or "
            f"preprocessing than the embeddings that {model.name} was trained on"
        )
