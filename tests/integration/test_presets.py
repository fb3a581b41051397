"""Presets are two whole files and overlays; what they merge to is fixed, and is all that a stage reads."""

import hashlib
import json

import pytest
import yaml

from aigid.cli import preset
from aigid.core.errors import InputError
from tests.helpers.workspace import ROOT

# sha256 of the parsed values of each preset, sorted by key: a changed value is a changed experiment.
VALUES = {
    "cifake": "0519cf4fa623d3691e9d17198af9f7066a6ff91308442947c86581de82c75933",
    "defactify": "8342a7726f95ee252709462ffbf572a98dcb4054f90314632da795a09ec0bd67",
    "demo": "a4be0bee8b6fb8279a49e90fcd2ca2b7cc95cc84ab2a29de62ba68bb21a098e2",
    "demo_clip": "1f680a3c845f816a0c2d3d780a1ed64bcd79e29c6f85b4c6dfc4412ee2dc34a2",
    "genimage": "583c888493b5f74cb6482cd6aa521c774f30d89f9a5044248b57a9f1113c9513",
    "ntire": "7097a578236ab5d5a60762590e02c71e872e737a7438554b26a572f447ccc6e8",
    "photos": "ba2c3d3ca13dd937e6b9e15207726b5e7157885cf46285644efd3293d21c0471",
    "sef13": "e4ad98bc4b48313641eba817d9d9309eb7eeae528bd130ca0b36e51cb6f9595c",
    "tiny": "ae3fb228227e33ef0ea0ab06a830de98df371d8d2626b3f918e73091cc01e3c5",
    "ufd": "d3fa7fdc85bbd9c430508656ecfe49885a4593d35b012eccdb6e9871b8639f77",
}


def test_every_preset_has_its_values():
    assert preset.preset_names() == sorted(VALUES)


@pytest.mark.parametrize("name", VALUES)
def test_the_values_of_a_preset(name):
    values = json.dumps(yaml.safe_load(preset.text(name)), sort_keys=True)
    assert hashlib.sha256(values.encode()).hexdigest() == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_comments_and_order_are_those_of_the_base(name):
    text = preset.text(name)
    assert list(yaml.safe_load(text)) == list(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert "# Logistic regression; of several c the one with the best validation AUROC is taken.\nprobe:\n" in text
    assert "  margin: 2.0 # of the squared distance of unit vectors: 2 is orthogonal, 4 opposite\n" in text
    assert text.startswith("# ")
    assert text.count("\n\n") == len(yaml.safe_load(text)) - 1


def test_an_overlay_brings_its_own_comments():
    text = preset.text("genimage")
    assert text.startswith("# GenImage (Zhu et al., NeurIPS 2023) as GenDet uses it")
    assert "# GenDet (Zhu et al., arXiv 2312.08880): its numbers for GenImage;" in text
    assert "  - lr112 # the six degradations of the benchmark (GenDet, Table 4)\n" in text
    assert "alpha: 1.0 # the paper's 0.1 ranks validation worse" in preset.text("cifake")
    assert "preset" not in yaml.safe_load(text)


def test_an_overlay_holds_only_what_differs():
    """A leaf of an overlay that says what its base says already would hide the next change of the base."""
    for name in set(VALUES) - {"demo"}:
        overlay = yaml.safe_load((ROOT / f"aigid/presets/{name}.yaml").read_text())
        head = overlay.pop("preset")
        base = yaml.safe_load(preset._merged(head["base"]))
        for dotted, value in overlay.items():
            own = base
            for key in dotted.split("."):
                own = own.get(key) if isinstance(own, dict) else None
            assert value != own, f"{name}: {dotted}"


def test_an_entry_of_no_section_is_an_error(monkeypatch):
    files = {"demo": "# Demo\nseed: 0\n", "odd": "# Odd\npreset: {base: demo}\nprobee.c: 1\n"}
    monkeypatch.setattr(preset, "_file", files.get)
    monkeypatch.setattr(preset, "preset_names", lambda: sorted(files))
    with pytest.raises(InputError, match="preset odd: probee is no section of demo"):
        preset.text("odd")


def test_the_presets_are_small():
    assert sum(len(file.read_text().splitlines()) for file in ROOT.glob("aigid/presets/*.yaml")) <= 911
