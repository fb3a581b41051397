"""One bundle for all tests of prediction."""

import pytest

from tests.helpers.probe_bundle import fit_probe


@pytest.fixture(scope="package")
def pipeline(tmp_path_factory):
    """Smooth and noisy images, a bundle that tells them apart, and the pipeline's own scores of the test images."""
    folder = tmp_path_factory.mktemp("pipeline")
    patch = pytest.MonkeyPatch()
    patch.setenv("AIGID_CACHE", str(folder / "cache"))
    yield folder, fit_probe(folder, "tiny_clip")
    patch.undo()


@pytest.fixture
def bundle(pipeline):
    """The bundle's folder."""
    return pipeline[0] / "bundle"
