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
    "cifake": "133aef9c6e5bac7a211142c6ff74f92db6ccb79ab42b7bd7c97c34efe321c5f2",
    "defactify": "60ff2eb80227cb3f4a34acdf8333a54b383f4f2029b7a14e01331fdd4c633ec4",
    "demo": "8e6a3bc9e0a3bcb79128f294e28e5239f29e9948cb5c8e5636a5dcf124ce182a",
    "demo_clip": "8dc3dc299b67ffc5ce4043e67b698f500c5c33828968a7178eee9a9ec7338f7c",
    "genimage": "eb0982a124d27e7a50cbf1fac8fd208eb15d2711af31ef476980f36d09199f78",
    "ntire": "2456ca137f03edc7a552b3092e3b94d4ab04d18b336c97371df3e618a82dae64",
    "photos": "f85562e09fc304f18e05be11fed8b5329aca4cd5d89701e2c581d3875a82b394",
    "sef13": "1a82ec1ffe2dcd8bdd7718016492338d36d462d3cc560640f3779f47a845aed3",
    "tiny": "51c9c7ac4a96075fa7a2611cf5f4d5ddd0fb07500ae645271aba9653b69cdafb",
    "ufd": "cbf000db65b75c4d34e27fd6ca3c6ba1d44e639126ccfd0c97cfc9356599188a",
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
    assert sum(len(file.read_text().splitlines()) for file in ROOT.glob("aigid/presets/*.yaml")) <= 860
