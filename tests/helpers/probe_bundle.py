"""A probe on the embeddings of smooth and noisy images, from the manifest to the bundle."""

from pathlib import Path

from aigid.core import manifest
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score, validate
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from tests.helpers.images import grain_folder


def fit_probe(folder: Path, backbone: str, num_images: int = 48):
    """Write ``m.csv``, ``images``, ``e.h5`` and ``bundle`` below a folder; return the scores of the test images."""
    rows = grain_folder(folder / "images", num_images, "{:02}.png".format)
    manifest.write(rows, folder / "m.csv")
    table = manifest.read(folder / "m.csv")
    extract(table, folder / "images", backbone_settings(backbone)).write(folder / "e.h5")
    dataset = open_dataset(table, [folder / "e.h5"])
    settings = LinearProbe.Settings(backbone=backbone, dataset="d", c=[0.1])
    fitted = LinearProbe.fit(settings, dataset.split("train"), dataset.split("val"), 0)
    provenance = bundles.provenance_of("d", folder / "m.csv", dataset, fitted, demonstration=False)
    values, validation = settings.model_dump(mode="json"), validate(fitted, dataset)
    model = bundles.Bundle("probe", fitted, values, dataset.fingerprints, provenance, validation)
    bundles.save(model, folder / "bundle")
    scored = score(model, dataset)
    return scored[scored["split"] == "test"].set_index("path")["score"]
