"""A bundle: a fitted detector in a folder that can be used anywhere.

``model.json`` says what it is, what it was made from and which files lie beside it; nothing of it is unpickled.
``validation.csv`` holds the scores of its validation images, from which whoever uses it chooses thresholds.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from aigid.base import tables
from aigid.base.errors import InputError
from aigid.base.files import sha256, write_text
from aigid.detectors.base.origin import Origin, code_of
from aigid.detectors.base.protocol import Detector
from aigid.detectors.base.registry import find
from aigid.detectors.base.samples import Samples

SCHEMA_VERSION = 3
ABOUT, VALIDATION = "model.json", "validation.csv"
BLANK = "0" * 64  # stands for the digest of ``model.json`` while it is computed


@dataclass(frozen=True)
class Model:
    """A detector and what it was made from."""

    name: str
    detector: Detector
    settings: dict[str, Any]
    fingerprints: list[str]  # of the backbones whose embeddings it takes, side by side
    origin: Origin = field(default_factory=Origin)
    validation: pd.DataFrame | None = None  # a scores file's rows


def save(model: Model, folder: Path) -> None:
    """Write the folder whole or not at all; ``model.json`` holds the sha256 of every other file, and its own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = model.detector.save(part)
        if model.validation is not None:
            tables.write(model.validation, part / VALIDATION)
        paths = sorted(path for path in part.rglob("*") if path.is_file())
        about = {"sha256": BLANK, "schema_version": SCHEMA_VERSION, "detector": model.name, "settings": model.settings}
        about |= {"fingerprints": model.fingerprints, "detector_state": state, "origin": model.origin.document()}
        about |= {"code": code_of(type(model.detector))}
        about["files"] = {path.relative_to(part).as_posix(): sha256(path) for path in paths}
        text = json.dumps(about, indent=2, allow_nan=False) + "\n"
        write_text(part / ABOUT, text.replace(BLANK, _digest(text), 1))
        part.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> Model:
    """The model in a folder; InputError where a file is missing or is not the one that was saved."""
    try:
        text = (folder / ABOUT).read_text(encoding="utf-8")
        about = json.loads(text)
        kind = find(about["detector"])
        _check_version(folder / ABOUT, about.get("schema_version"))
        if _digest(text.replace(about["sha256"], BLANK, 1)) != about["sha256"]:
            raise InputError(f"{folder / ABOUT}: not the file that was saved with this model")
        for name, expected in about["files"].items():
            if sha256(folder / _inside(name)) != expected:
                raise InputError(f"{folder / name}: not the file that was saved with this model")
        detector = kind.load(folder, about["detector_state"])
        origin = Origin(**about["origin"])
    except InputError as error:
        raise InputError(f"{'' if str(folder) in str(error) else f'{folder / ABOUT}: '}{error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: no whole model: {error}") from None
    validation = _scores(folder / VALIDATION) if VALIDATION in about["files"] else None
    return Model(about["detector"], detector, about["settings"], about["fingerprints"], origin, validation)


def require_same(model: Model, samples: Samples) -> None:
    """InputError unless the samples come as those did that the model was trained on."""
    if samples.datasets:
        require_same_backbone(model, samples)
    elif (made := model.detector.fingerprints(samples)) and made != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")


def require_same_backbone(model: Model, dataset: Samples) -> None:
    """InputError unless the dataset's embeddings are made as those that the model was trained on.

    A model from elsewhere has no fingerprints; it knows the name of its backbone and how images were prepared for it.
    """
    if model.fingerprints:
        same = dataset.fingerprints == model.fingerprints
    else:
        same = [_identity(it) for it in dataset.backbones] == [_identity(it) for it in model.origin.backbones]
    if not same:
        raise InputError(
            f"{', '.join(map(str, dataset.embedding_files))}: made by another backbone, weights or "
            f"preprocessing than the embeddings that {model.name} was trained on{_wanted(model)}"
        )


def _identity(backbone: dict[str, Any]) -> list[object]:
    return [backbone.get(key) for key in ("library", "model", "pretrained", "pool", "config", "preprocess", "parts")]


def _wanted(model: Model) -> str:
    named = [str(it.get("model", it["library"])) for it in model.origin.backbones]
    return f" ({model.origin.source}, on {', '.join(named)})" if model.origin.source else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_version(path: Path, version: object) -> None:
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {version}, this code reads {SCHEMA_VERSION}; train it again with dvc repro"
        )


def _inside(name: str) -> str:
    """A name that does not lead out of the bundle."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"files: {name!r} does not lie in the bundle")
    return name


def _scores(path: Path) -> pd.DataFrame:
    table = tables.read(path, ("path", "label", "generator", "split", "view", "score"))
    return table.assign(label=table["label"].astype(int), score=pd.to_numeric(table["score"], errors="coerce"))
