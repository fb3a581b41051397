"""Detectors are found by convention, and naming them loads none."""

import subprocess
import sys
from pathlib import Path

import pytest

from aigid import detectors
from aigid.core.errors import InputError
from aigid.importers import get_importer as find_importer


def test_every_detector_is_known_by_its_module():
    expected = "aeroblade averaging cnn concatenation featdistill gate gendet knn occ probe sef stacking svm"
    assert detectors.names() == expected.split()
    assert sorted(detectors.modules(detectors.IMPORTED_DETECTORS, "Detector")) == ["dda", "hub_classifier"]
    for name in (*detectors.names(), "dda", "hub_classifier"):
        assert callable(detectors.get_detector(name).load)


def test_a_module_becomes_a_detector_by_its_class(tmp_path, monkeypatch):
    package = tmp_path / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "centroid.py").write_text("class Detector:\n    pass\n")
    (package / "helper.py").write_text("from centroid import Detector\n")
    (package / "deep").mkdir()
    (package / "deep/__init__.py").write_text("")
    (package / "deep/detector.py").write_text("class Deep:\n    pass\n\n\nDetector = Deep\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = {"centroid": "zoo.centroid", "deep": "zoo.deep.detector"}
    assert detectors.modules("zoo", "Detector") == expected
    monkeypatch.setattr(Path, "read_text", None)  # sources are read at the first look-up alone
    assert detectors.modules("zoo", "Detector") == expected


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match=r"unknown detector 'prob'; known: aeroblade, .*probe, sef, stacking, svm"):
        detectors.get_detector("prob")
    with pytest.raises(
        InputError, match=r"unknown detector 'prob'; known: clip-cues, dda, featdistill, hf, linear, univfd"
    ):
        find_importer("prob")


def test_naming_the_detectors_loads_no_torch():
    code = "import sys; from aigid.detectors import names; names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
