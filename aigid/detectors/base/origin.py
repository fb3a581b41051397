"""What a bundle says of its making: the images it learnt from, its backbones, their licences, the code."""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from aigid.base.files import sha256
from aigid.data.sources import SOURCES
from aigid.detectors.base.protocol import Detector
from aigid.detectors.base.rows import EmbeddedDataset
from aigid.detectors.base.samples import Samples, embedded

WEIGHTS = {  # licence of published backbones, by the name under which their library knows them
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
DEMO = "photographs that ship with scikit-image and scikit-learn, under the licences stated there"


@dataclass(frozen=True)
class Origin:
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


def of_samples(name: str, manifest: Path, samples: Samples, fitted: Detector, demonstration: bool) -> Origin:
    """Return that of a detector fitted on samples of a data set; ``manifest`` is the first of theirs."""
    table = samples.table[samples.table["split"].isin([*fitted.learns_from, "test"])]
    return of_images(name, manifest, table, samples.seed, demonstration, fitted.backbones(samples))


def of_embeddings(name: str, manifest: Path, dataset: EmbeddedDataset, demonstration: bool) -> Origin:
    """Return that of a detector trained on a data set's embeddings."""
    samples = embedded(dataset)
    return of_images(name, manifest, samples.table, samples.seed, demonstration, samples.backbones)


def of_images(
    name: str,
    manifest: Path,
    table: pd.DataFrame,
    seed: int,
    demonstration: bool,
    backbones: Sequence[dict[str, Any]] = (),
) -> Origin:
    """Of a detector trained on a dataset's images themselves; ``backbones`` are where its networks started."""
    parts = [part for backbone in backbones for part in backbone.get("parts", [backbone])]
    random = any(part["config"] and not part["weights"] for part in parts)
    licences = [_licence_of_data(name, demonstration), *(_licence_of_weights(part) for part in parts)]
    training = describe(name, manifest, table)
    return Origin(list(backbones), seed, training, list(dict.fromkeys(licences)), demonstration or random)


def describe(name: str, path: Path, table: pd.DataFrame) -> dict[str, Any]:
    """The training set: its name, the manifest's hash, how many images of what it has."""
    learnt = table[table["split"] != "test"]
    images = {split: part["generator"].value_counts().sort_index().to_dict() for split, part in learnt.groupby("split")}
    return {"dataset": name, "manifest_sha256": sha256(path), "images": images}


def counts(table: pd.DataFrame, splits: Sequence[str]) -> pd.DataFrame:
    """Return how many images of each generator the splits hold, as columns ``split``, ``generator``, ``images``."""
    learnt = table[table["split"].isin(splits)]
    return learnt.groupby(["split", "generator"]).size().rename("images").reset_index()


def code_of(kind: type) -> dict[str, str]:
    """Return the package's version and the sha256 of the sources of a detector's class.

    The sources are its file where its module lies directly in aigid.detectors or aigid.importers, else its folder's.
    """
    file = Path(inspect.getfile(kind))
    single = kind.__module__.rpartition(".")[0] in PACKAGES
    files = [file] if single else sorted(file.parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return {"aigid": version("aigid"), "sources_sha256": digest}


def _licence_of_data(name: str, demonstration: bool) -> str:
    return f"training data {name}: {DEMO if demonstration else SOURCES.get(name, 'yours to say')}"


def _licence_of_weights(part: dict[str, Any]) -> str:
    if part["config"] and not part["weights"]:
        return f"weights {part['library']} {part['model']}: random, drawn from a seed"
    return f"weights {part['model']}: {WEIGHTS.get(part['model'], 'as their publisher states')}"
