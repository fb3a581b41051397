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
    "cifake": "cd6cde58c3129d09d882dabe2cc526d93bb37c98174e772ae2f81c0348717a2f",
    "defactify": "cb8b3ccc4f5cdb031c07eac9af9a39381f6e8b918df4efe25716b38e08f4d3e5",
    "demo": "86792980c7e0e3e87b6838f50218fad1aae95c6137a1bac76dfcf5c3d6c8c931",
    "demo_clip": "d7b12a8e328b216fb21e9d5878e134b89fd5d1cb554521192faeb4683dc82b9d",
    "genimage": "1d1908239735d0f8364d693d1792444bebe000e21add9421cc85a1ae1a4a628b",
    "ntire": "2218f273933fa94b5e2c9d66ae18c62fb165adcc072bf79b7ecf706d339402a2",
    "sef13": "39afebbb245b84b5e77d017de0611bbaee3025470a81ca0e711d0eba430cc7f2",
    "tiny": "ca02e186bb2f5d338f42ba12f90af760104a90df669e67922470bdd1ac836136",
    "ufd": "d4f39c7d1c5f64f5b05fc4b698f3ec8962d0601ccf80d3e1d4a117778e0316a1",
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
