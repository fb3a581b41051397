"""What a bundle says of its making: the images it learnt from, its backbones, their licences, the code."""

import hashlib
import inspect
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from aigid.core import tables
from aigid.core.errors import InputError
from aigid.core.files import sha256, write_text
from aigid.data.licences import DATASET_LICENCES
from aigid.detectors.dataset import EmbeddedDataset
from aigid.detectors.protocol import Detector
from aigid.detectors.registry import get_detector
from aigid.detectors.samples import Samples, embedded

WEIGHT_LICENCES = {  # licence of published backbones, by the name under which their library knows them
    "ViT-B-16-quickgelu": "OpenAI CLIP, MIT",
    "ViT-L-14-quickgelu": "OpenAI CLIP, MIT",
    "ViT-L-14-336-quickgelu": "OpenAI CLIP, MIT",
    "openai/clip-vit-large-patch14": "OpenAI CLIP, MIT",
    "facebook/dinov2-large": "Meta DINOv2, Apache-2.0",
    "google/siglip-base-patch16-224": "Google SigLIP, Apache-2.0",
    "vit_large_patch14_dinov2.lvd142m": "Meta DINOv2, Apache-2.0",
    "google/siglip-so400m-patch14-384": "Google SigLIP, Apache-2.0",
}
PACKAGES = ("aigid.detectors", "aigid.importers")  # whose direct modules are a detector each
DEMO_NOTICE = "photographs that ship with scikit-image and scikit-learn, under the licences stated there"


@dataclass(frozen=True)
class Provenance:
    """``backbones`` are settings by which equal embeddings can be made anew, ``seed`` is that of the views.

    ``training``: ``dataset``, ``manifest_sha256`` and ``images``, the counts by split and generator. ``demonstration``:
    fit to show the machinery, not to judge photographs.
    """

    backbones: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    licences: list[str] = field(default_factory=list)
    demonstration: bool = False
    source: str = ""  # of a detector that was trained elsewhere

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def of_samples(name: str, manifest: Path, samples: Samples, fitted: Detector, demonstration: bool) -> Provenance:
    """Return that of a detector fitted on samples of a data set; ``manifest`` is the first of theirs."""
    table = samples.table[samples.table["split"].isin([*fitted.learns_from, "test"])]
    return from_images(name, manifest, table, samples.seed, demonstration, fitted.backbones(samples))


def from_embeddings(name: str, manifest: Path, dataset: EmbeddedDataset, demonstration: bool) -> Provenance:
    """Return that of a detector trained on a data set's embeddings."""
    samples = embedded(dataset)
    return from_images(name, manifest, samples.table, samples.seed, demonstration, samples.backbones)


def from_images(
    name: str,
    manifest: Path,
    table: pd.DataFrame,
    seed: int,
    demonstration: bool,
    backbones: Sequence[dict[str, Any]] = (),
) -> Provenance:
    """Of a detector trained on a dataset's images themselves; ``backbones`` are where its networks started."""
    parts = [part for backbone in backbones for part in backbone.get("parts", [backbone])]
    random = any(part["config"] and not part["weights"] for part in parts)
    licences = [_licence_of_data(name, demonstration), *(_licence_of_weights(part) for part in parts)]
    training = dataset_info(name, manifest, table)
    return Provenance(list(backbones), seed, training, list(dict.fromkeys(licences)), demonstration or random)


def dataset_info(name: str, path: Path, table: pd.DataFrame) -> dict[str, Any]:
    """The training set: its name, the manifest's hash, how many images of what it has."""
    learnt = table[table["split"] != "test"]
    images = {split: part["generator"].value_counts().sort_index().to_dict() for split, part in learnt.groupby("split")}
    return {"dataset": name, "manifest_sha256": sha256(path), "images": images}


def counts(table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Return how many images of each generator the splits hold, as columns ``split``, ``generator``, ``images``."""
    learnt = table[table["split"].isin(splits)]
    return learnt.groupby(["split", "generator"]).size().rename("images").reset_index()


def source_hash(kind: type) -> dict[str, str]:
    """Return the package's version and the sha256 of the sources of a detector's class.

    The sources are its file where its module lies directly in aigid.detectors or aigid.importers, else its folder's.
    """
    file = Path(inspect.getfile(kind))
    single = kind.__module__.rpartition(".")[0] in PACKAGES
    files = [file] if single else sorted(file.parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return {"aigid": version("aigid"), "sources_sha256": digest}


def _licence_of_data(name: str, demonstration: bool) -> str:
    return f"training data {name}: {DEMO_NOTICE if demonstration else DATASET_LICENCES.get(name, 'yours to say')}"


def _licence_of_weights(part: dict[str, Any]) -> str:
    if part["config"] and not part["weights"]:
        return f"weights {part['library']} {part['model']}: random, drawn from a seed"
    return f"weights {part['model']}: {WEIGHT_LICENCES.get(part['model'], 'as their publisher states')}"


# A bundle: a fitted detector in a folder that can be used anywhere.
#
# ``model.json`` says what it is, what it was made from and which files lie beside it; nothing of it is unpickled.
# ``validation.csv`` holds the scores of its validation images, from which whoever uses it chooses thresholds.

SCHEMA_VERSION = 3
ABOUT, VALIDATION = "model.json", "validation.csv"
ZERO_DIGEST = "0" * 64  # stands for the digest of ``model.json`` while it is computed


@dataclass(frozen=True)
class Bundle:
    """A detector and what it was made from."""

    name: str
    detector: Detector
    settings: dict[str, Any]
    fingerprints: list[str]  # of the backbones whose embeddings it takes, side by side
    origin: Provenance = field(default_factory=Provenance)
    validation: pd.DataFrame | None = None  # a scores file's rows


def save(model: Bundle, folder: Path) -> None:
    """Write the folder whole or not at all; ``model.json`` holds the sha256 of every other file, and its own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = model.detector.save(part)
        if model.validation is not None:
            tables.write(model.validation, part / VALIDATION)
        paths = sorted(path for path in part.rglob("*") if path.is_file())
        about = {
            "sha256": ZERO_DIGEST,
            "schema_version": SCHEMA_VERSION,
            "detector": model.name,
            "settings": model.settings,
        }
        about |= {"fingerprints": model.fingerprints, "detector_state": state, "origin": model.origin.document()}
        about |= {"code": source_hash(type(model.detector))}
        about["files"] = {path.relative_to(part).as_posix(): sha256(path) for path in paths}
        text = json.dumps(about, indent=2, allow_nan=False) + "\n"
        write_text(part / ABOUT, text.replace(ZERO_DIGEST, _digest(text), 1))
        part.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load(folder: Path) -> Bundle:
    """The model in a folder; InputError where a file is missing or is not the one that was saved."""
    try:
        text = (folder / ABOUT).read_text(encoding="utf-8")
        about = json.loads(text)
        kind = get_detector(about["detector"])
        _check_version(folder / ABOUT, about.get("schema_version"))
        if _digest(text.replace(about["sha256"], ZERO_DIGEST, 1)) != about["sha256"]:
            raise InputError(f"{folder / ABOUT}: not the file that was saved with this model")
        for name, expected in about["files"].items():
            if sha256(folder / _safe_relative_path(name)) != expected:
                raise InputError(f"{folder / name}: not the file that was saved with this model")
        detector = kind.load(folder, about["detector_state"])
        origin = Provenance(**about["origin"])
    except InputError as error:
        raise InputError(f"{'' if str(folder) in str(error) else f'{folder / ABOUT}: '}{error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: no whole model: {error}") from None
    validation = _scores(folder / VALIDATION) if VALIDATION in about["files"] else None
    return Bundle(about["detector"], detector, about["settings"], about["fingerprints"], origin, validation)


def require_same(model: Bundle, samples: Samples) -> None:
    """InputError unless the samples come as those did that the model was trained on."""
    if samples.datasets:
        require_same_backbone(model, samples)
    elif (made := model.detector.fingerprints(samples)) and made != model.fingerprints:
        raise InputError(f"{model.name}: trained on the channels of another VAE, size or settings than these")


def require_same_backbone(model: Bundle, dataset: Samples) -> None:
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
            f"preprocessing than the embeddings that {model.name} was trained on{_expected_backbone(model)}"
        )


def _identity(backbone: dict[str, Any]) -> list[object]:
    return [backbone.get(key) for key in ("library", "model", "pretrained", "pool", "config", "preprocess", "parts")]


def _expected_backbone(model: Bundle) -> str:
    named = [str(it.get("model", it["library"])) for it in model.origin.backbones]
    return f" ({model.origin.source}, on {', '.join(named)})" if model.origin.source else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_version(path: Path, version: object) -> None:
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema version {version}, this code reads {SCHEMA_VERSION}; train it again with dvc repro"
        )


def _safe_relative_path(name: str) -> str:
    """A name that does not lead out of the bundle."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError(f"files: {name!r} does not lie in the bundle")
    return name


def _scores(path: Path) -> pd.DataFrame:
    table = tables.read(path, ("path", "label", "generator", "split", "view", "score"))
    return table.assign(label=table["label"].astype(int), score=pd.to_numeric(table["score"], errors="coerce"))
