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
    "cifake": "cb13f7892e7f5c5c9433b924944ebce547162429e19740ab8ea5abde85322993",
    "defactify": "3eba6fa97fad85998f211428976de2ed70e393236f32d58ec613fa50bb068f81",
    "demo": "428322177da98c3628c6865778c8b1671fc47bfe42c0993636a7471518186be3",
    "demo_clip": "b39500fec22f88133f98b3c0c07e4c3355c7c0270d13c94eb788b7790b2775f6",
    "genimage": "6125606869a4da5dee09687a826069e0bc13216d0860ea9766a55dd23f5635ea",
    "ntire": "6dfd5d335674bf4d29d565c3a36f9ec551e8a7d2be663209a712047e91a386c6",
    "sef13": "5b059cf7b213a36c928e55d4d7f4be2ba2649367255d6e17fdd51d0ec52d0f0c",
    "tiny": "35e24c96604569692c8ee84d1e81f490f0811137dd01a7a158d24a7828db651e",
    "ufd": "c0d89f1adffe4fb4df2217fccd9b48dc94931f877b7fe323ac356cc9edbd2d95",
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
    assert sum(len(file.read_text().splitlines()) for file in ROOT.glob("aigid/presets/*.yaml")) <= 840
