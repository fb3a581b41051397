"""Bundles: fitted detectors in folders that can be used anywhere, and the scores that they give."""

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pandas as pd

from aigid.core import tables
from aigid.core.bundle_files import METADATA as METADATA
from aigid.core.bundle_files import is_bundle as is_bundle
from aigid.core.bundle_files import list_files, require_saved, validate_metadata
from aigid.core.errors import InputError, reason
from aigid.core.files import sha256, write_text
from aigid.core.folders import replace_folder
from aigid.data.licences import DATASET_LICENCES, DEMO_LICENCE, WEIGHT_LICENCES
from aigid.detectors import get_detector
from aigid.detectors.protocol import BaseDetector, score_views
from aigid.detectors.samples import Samples

PACKAGES = ("aigid.detectors", "aigid.importers")  # whose direct modules are a detector each
SCHEMA_VERSION = 3
VALIDATION = "validation.csv"
ZERO_DIGEST = "0" * 64  # stands for the digest of ``model.json`` while it is computed
AnyDetector = TypeVar("AnyDetector", bound=BaseDetector)


@dataclass(frozen=True)
class Provenance:
    """``backbones`` are settings by which equal embeddings can be computed again, ``seed`` is that of the views.

    ``training``: ``dataset``, ``manifest_sha256`` and ``images``, the counts by split and generator. ``demonstration``:
    fitted on demonstration images, not to classify real photographs. ``source``: of a detector trained elsewhere.
    """

    backbones: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)
    demonstration: bool = False
    source: str = ""


@dataclass(frozen=True)
class Bundle:
    """A detector and what it was trained on; ``fingerprints`` are those of the backbones whose embeddings it takes.

    ``validation`` are the rows of a scores file of its validation images, from which users choose thresholds.
    ``identity`` of a saved one, ``<name>@<digits>``, is equal for those that give equal scores.
    """

    name: str
    detector: BaseDetector
    settings: dict[str, Any]
    fingerprints: list[str]
    origin: Provenance = field(default_factory=Provenance)
    validation: pd.DataFrame | None = None
    identity: str = ""


def provenance_of(name: str, manifest: Path, samples: Samples, fitted: BaseDetector, demonstration: bool) -> Provenance:
    """Return that of a detector fitted on samples of a dataset; ``manifest`` is the first of theirs."""
    seen = samples.table[samples.table["split"].isin(fitted.learns_from)]
    images = {split: part["generator"].value_counts().sort_index().to_dict() for split, part in seen.groupby("split")}
    training = {"dataset": name, "manifest_sha256": sha256(manifest), "images": images}
    backbones = fitted.backbones(samples)
    parts = [part for backbone in backbones for part in backbone.get("parts", [backbone])]
    random = any(map(is_random, parts))
    data = DEMO_LICENCE if demonstration else DATASET_LICENCES.get(name, "yours to say")
    licences = [f"training data {name}: {data}", *map(weight_licence, parts)]
    return Provenance(backbones, samples.seed, training, list(dict.fromkeys(licences)), demonstration or random)


def is_random(part: dict[str, Any]) -> bool:
    """Return whether a backbone's weights are drawn from a seed."""
    return bool(part["config"] and not part["weights"])


def weight_licence(part: dict[str, Any]) -> str:
    """Return the line on the licence of a backbone's weights."""
    if is_random(part):
        return f"weights {part['library']} {part['model']}: random, drawn from a seed"
    return f"weights {part['model']}: {WEIGHT_LICENCES.get(part['model'], 'as their publisher states')}"


def count_images(table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Return how many images of each generator the splits hold, as columns ``split``, ``generator``, ``images``."""
    rows = table[table["split"].isin(splits)]
    return rows.groupby(["split", "generator"]).size().rename("images").reset_index()


def source_hash(code: Callable[..., Any]) -> dict[str, str]:
    """Return the package's version and the sha256 of the sources of a detector's class, or of a function.

    The sources are its file where its module lies directly in aigid.detectors or aigid.importers, else its folder's.
    """
    file = Path(inspect.getfile(code))
    files = [file] if code.__module__.rpartition(".")[0] in PACKAGES else sorted(file.parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return {"aigid": version("aigid"), "sources_sha256": digest}


def save(model: Bundle, folder: Path) -> None:
    """Write the complete folder or nothing.

    ``model.json`` says what the detector is and was trained on, and holds the sha256 of every other file and of itself.
    """
    with replace_folder(folder, is_bundle, "bundle") as part:
        state = model.detector.save(part)
        if model.validation is not None:
            tables.write(model.validation, part / VALIDATION)
        metadata = {
            "sha256": ZERO_DIGEST,
            "schema_version": SCHEMA_VERSION,
            "detector": model.name,
            "settings": model.settings,
            "fingerprints": model.fingerprints,
            "detector_state": state,
            "origin": asdict(model.origin),
            "code": source_hash(type(model.detector)),
            "files": {name: sha256(part / name) for name in list_files(part)},
        }
        text = json.dumps(metadata, indent=2, allow_nan=False) + "\n"
        write_text(part / METADATA, text.replace(ZERO_DIGEST, _digest(text), 1))


def load(folder: Path) -> Bundle:
    """Return the model in a folder, nothing of it unpickled; InputError where a file is not the one that was saved."""
    path = folder / METADATA
    try:
        metadata = read_metadata(folder)
        detector = get_detector(metadata["detector"]).load(folder, metadata["detector_state"])
        origin = Provenance(**metadata["origin"])
        validation = _scores(folder / VALIDATION) if VALIDATION in metadata["files"] else None
    except InputError as error:
        raise InputError(f"{'' if str(folder) in str(error) else f'{path}: '}{error}") from None
    except Exception as error:  # files that are not what was saved raise anything
        raise InputError(f"{folder}: no whole model: {reason(error)}") from None
    name, fingerprints = metadata["detector"], metadata["fingerprints"]
    return Bundle(name, detector, metadata["settings"], fingerprints, origin, validation, _identity_of(metadata))


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return the ``model.json`` of a bundle, every field checked; InputError where any file is not what was saved."""
    text = (path := folder / METADATA).read_text(encoding="utf-8")
    metadata = json.loads(text)
    if (schema := metadata.get("schema_version")) != SCHEMA_VERSION:
        imported = metadata.get("origin", {}).get("source")
        remedy = "import it again with aigid import" if imported else "train it again with dvc repro"
        raise InputError(f"{path}: schema version {schema}, this code reads {SCHEMA_VERSION}; {remedy}")
    get_detector(metadata["detector"])
    if _digest(text.replace(metadata["sha256"], ZERO_DIGEST, 1)) != metadata["sha256"]:
        raise InputError(f"{path}: not the file that was saved with this model")
    validate_metadata(metadata, str(path))
    for name, expected in metadata["files"].items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"files: {name!r} does not lie in the bundle")
        require_saved(folder / name, expected)
    if unlisted := sorted(set(list_files(folder)) - set(metadata["files"])):
        raise InputError(f"{folder / unlisted[0]}: not among the files that were saved with this model")
    return dict(metadata)


def _identity_of(metadata: dict[str, Any]) -> str:
    """Return ``<name>@<digits>`` of what decides the scores: state, files and backbones, not the code's version."""
    files = {name: digest for name, digest in metadata["files"].items() if name != VALIDATION}
    parts = [metadata["detector_state"], metadata["fingerprints"], metadata["origin"].get("backbones"), files]
    return f"{metadata['detector']}@{_digest(json.dumps(parts, sort_keys=True))[:16]}"


def load_detector(folder: Path, kind: type[AnyDetector]) -> AnyDetector:
    """Return the detector in a folder; InputError where it is of another kind."""
    return load_kind(folder, kind)[1]


def load_kind(folder: Path, kind: type[AnyDetector]) -> tuple[Bundle, AnyDetector]:
    """Return the bundle in a folder, and its detector; InputError where that is of another kind."""
    model = load(folder)
    if not isinstance(model.detector, kind):
        raise InputError(f"{folder}: a model of {model.name}, want {kind.__name__.lower()}")
    return model, model.detector


def score(model: Bundle, samples: Samples, views: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row for each val and test image and view, by default those of the embeddings.

    An image without a score has a status that says why. InputError where the model was trained on other samples.
    """
    require_same(model, samples)
    rows = score_views(model.detector, samples.subset("val", "test"), views or samples.views)
    return rows.assign(model=model.identity) if model.identity else rows


def validate(detector: BaseDetector, samples: Samples) -> pd.DataFrame | None:
    """Return the clean validation images' rows, for the bundle; None where there are none."""
    validation = samples.subset("val")
    return None if validation.table.empty else score_views(detector, validation, samples.views[:1] or ["clean"])


def require_same(model: Bundle, samples: Samples) -> None:
    """Raise InputError unless the samples come as those did that the model was trained on."""
    if samples.files:
        require_same_backbone(model, samples)
    elif (current := model.detector.fingerprints(samples)) and current != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")


def require_same_backbone(model: Bundle, samples: Samples) -> None:
    """Raise InputError unless the embeddings are computed as those that the model was trained on.

    A model from elsewhere has no fingerprints; it knows the name of its backbone and how images were prepared for it.
    """
    if model.fingerprints:
        same = samples.fingerprints == model.fingerprints
    else:
        same = [*map(_identity, samples.backbones)] == [*map(_identity, model.origin.backbones)]
    if not same:
        names = ", ".join(str(part.get("model", part["library"])) for part in model.origin.backbones)
        raise InputError(
            f"{', '.join(map(str, samples.embedding_paths))}: made by another backbone, weights or preprocessing than "
            f"the embeddings that {model.name} was trained on"
            + (f" ({model.origin.source}, on {names})" if model.origin.source else "")
        )


def _identity(backbone: dict[str, Any]) -> list[object]:
    return [backbone.get(key) for key in ("library", "model", "pretrained", "pool", "config", "preprocess", "parts")]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _scores(path: Path) -> pd.DataFrame:
    table = tables.read(path, ("path", "label", "generator", "split", "view", "score"))
    scores = pd.to_numeric(table["score"], errors="coerce")
    if not (scores.isna() | scores.between(0, 1)).all():
        raise InputError(f"{path}: a score that is no probability")
    if not table["label"].isin(["0", "1"]).all():
        raise InputError(f"{path}: a label that is neither 0 nor 1")
    return table.assign(label=table["label"].astype(int), score=scores)
