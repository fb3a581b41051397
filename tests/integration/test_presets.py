"""Presets are a whole file and overlays; what they merge to is fixed, and is all that a stage reads."""

import hashlib
import json

import pytest
import yaml

from aigid.cli import preset
from aigid.core.errors import InputError
from tests.helpers.workspace import ROOT

# sha256 of the parsed values of each preset, sorted by key: a changed value is a changed experiment.
VALUES = {
    "cifake": "d766a55e4a4dd9d50415260226a806024db7707fc233d4f2e243f2ea7322bb26",
    "defactify": "224d10306501fcdc9ff3d8f66d8c59c045080ae849f874c52f2881992a4952e7",
    "demo": "df30c30c96376356d13263b1f725535bffa612c19f79035c3bd4c5e20f938bef",
    "demo_clip": "d44c44f300dff6737dceead6be9736926184208c4bbc4c109c6617f316e4854c",
    "genimage": "ca704eecb8f920ab1c590ce928d0c961a721e5e04905330f020454f70ca8654a",
    "ntire": "574396eda0e2d7227fd1e2dc6012af237a7b381a7998799105686186b8ecaa9c",
    "photos": "6613ee48fc205a3afce7aaf9f0671abb05658cc23d07ca34cc1965af48751f00",
    "sef13": "aec7073bc25e6fc7fc335105adfd21b757c89c9a14f3cf579ffa46405ff78b2e",
    "tiny": "3e446456f7f1a2539bc2246934d8db07cb75377069757b1dfebe440c78240e29",
    "ufd": "c65616972d4f1e0cab13016d9408a268c6595ee889851e286531b53ddabfda87",
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
    for name in {*VALUES, "real"} - {"demo"}:
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
    assert sum(len(file.read_text().splitlines()) for file in ROOT.glob("aigid/presets/*.yaml")) <= 735
