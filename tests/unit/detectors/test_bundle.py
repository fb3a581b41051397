"""A detector's sources are its own: its module's file, or the files of its package."""

import hashlib
from pathlib import Path

import pytest

from aigid.detectors.bundle import source_hash
from aigid.detectors.registry import get_detector

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
