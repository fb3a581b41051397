"""Model cards: false accusations by hand, the demonstration on the first line, what it is made of, where it fails."""

import json

import numpy as np
import pandas as pd
import pytest

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation import comparison
from aigid.evaluation.evaluate import evaluate, write_result
from aigid.report import cards

ABOUT = {
    "sha256": "b" * 64,
    "settings": {"c": 1.0},
    "code": {"aigid": "0.1", "sources_sha256": "c" * 64},
    "origin": {
        "demonstration": True,
        "seed": 7,
        "licences": ["training data d: MIT"],
        "training": {
            "dataset": "d",
            "manifest_sha256": "a" * 64,
            "images": {"train": {"real": 60, "gan": 50}, "val": {"real": 6}},
        },
        "backbones": [{"library": "open_clip", "model": "ViT-B-16", "weights": None, "config": None}],
    },
}


def judged(noise):
    rng, label = np.random.default_rng(0), np.arange(200) % 2
    table = pd.DataFrame({"path": [f"{k}.png" for k in range(200)], "label": label, "view": "clean"})
    table["generator"] = np.where(label == 0, "real", np.where(np.arange(200) % 4 == 1, "easy", "hard"))
    table["split"] = np.where(np.arange(200) < 80, "val", "test")
    table["score"] = np.clip(0.2 + 0.6 * (table["generator"] == "easy") + noise * rng.normal(size=200), 0, 1)
    return evaluate(scores.validate(table, "s"), n_bootstrap=10)


def test_accusations_by_hand():
    rates = {"acc_real_05": 0.9, "acc_fake_05": 0.8, "operating_fpr": 0.0, "operating_tpr": 0.0}
    found = cards.false_positives_per_1000(rates).set_index(["threshold", "generated"])
    # Of 1,000 images a tenth generated: 900 photographs, of which 90 accused; 100 fakes, of which 80 found.
    row = found.loc[("0.5", "10%")]
    assert (row["photographs accused"], row["fakes found"], row["of accusations wrong"]) == ("90.0", "80.0", "52.9%")
    assert found.loc[("0.5", "1%"), "of accusations wrong"] == f"{99 / 107:.1%}"
    assert found.loc[("for the target FPR", "50%"), "of accusations wrong"] == "no accusation"
    assert "best on validation" not in found.index.get_level_values("threshold")


def test_a_card_says_what_it_is_made_of_and_where_it_fails():
    text = cards.markdown("probe", ABOUT, {"d": {"probe": judged(0.1), comparison.SHALLOW: judged(0.0)}})
    first, title, *_ = [line for line in text.splitlines() if line]
    assert "Not for judging photographs" in first
    assert title == "# Model card: probe"
    assert "| real | 60 | 6 |" in text
    assert "| gan | 50 | 0 |" in text
    assert "the generator it sees least: hard, AUROC 0." in text
    assert "open_clip `ViT-B-16`" in text
    assert f"`{'b' * 64}`" in text
    serious = ABOUT | {"origin": ABOUT["origin"] | {"demonstration": False}}
    assert cards.markdown("probe", serious, {}).startswith("# Model card: probe")


def test_a_card_of_every_detector_or_a_line(tmp_path):
    for name in ("probe", comparison.SHALLOW):
        write_result(judged(0.1), tmp_path / "results", name, "d")
    with pytest.raises(InputError, match=r"probe/model\.json: no bundle"):
        cards.write(tmp_path / "results", tmp_path / "models", tmp_path / "out", ["probe"], ["d"])
    (tmp_path / "models/probe").mkdir(parents=True)
    (tmp_path / "models/probe/model.json").write_text(json.dumps(ABOUT))
    cards.write(tmp_path / "results", tmp_path / "models", tmp_path / "out", ["probe"], ["d"])
    assert (tmp_path / "out/probe.md").read_text().count("## On d") == 1
