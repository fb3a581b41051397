"""One bundle for all tests of prediction."""

import pytest

from aigid.core import manifest
from aigid.detectors import bundle as bundles
from aigid.detectors.bundle import score, validate
from aigid.detectors.probe import LinearProbe
from aigid.detectors.samples import open_dataset
from aigid.features.backbones import backbone_settings
from aigid.features.extract import extract
from tests.helpers.images import grain_folder

NUM = 48


@pytest.fixture(scope="package")
def pipeline(tmp_path_factory):
    """Smooth and noisy images, a bundle that tells them apart, and the pipeline's own scores of the test images."""
    folder = tmp_path_factory.mktemp("pipeline")
    patch = pytest.MonkeyPatch()
    patch.setenv("AIGID_CACHE", str(folder / "cache"))
    rows = grain_folder(folder / "images", NUM, "{:02}.png".format)
    manifest.write(rows, folder / "m.csv")
    table = manifest.read(folder / "m.csv")
    extract(table, folder / "images", backbone_settings("tiny_clip")).write(folder / "e.h5")
    dataset = open_dataset(table, [folder / "e.h5"])
    settings = LinearProbe.Settings(backbone="tiny_clip", dataset="d", c=[0.1])
    fitted = LinearProbe.fit(settings, dataset.split("train"), dataset.split("val"), 0)
    provenance = bundles.provenance_of("d", folder / "m.csv", dataset, fitted, demonstration=False)
    values, validation = settings.model_dump(mode="json"), validate(fitted, dataset)
    model = bundles.Bundle("probe", fitted, values, dataset.fingerprints, provenance, validation)
    bundles.save(model, folder / "bundle")
    scored = score(model, dataset)
    yield folder, scored[scored["split"] == "test"].set_index("path")["score"]
    patch.undo()


@pytest.fixture
def bundle(pipeline):
    """The bundle's folder."""
    return pipeline[0] / "bundle"
