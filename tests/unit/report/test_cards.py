"""Model cards."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from aigid.core import manifest, scores
from aigid.core.errors import InputError
from aigid.evaluation import comparison
from aigid.evaluation.evaluate import evaluate, read_results, write_result
from aigid.report import cards, risks
from tests.helpers.cli import aigid, refused

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
    found = risks.per_1000(rates).set_index(["threshold", "generated"])
    # Of 1,000 images a tenth generated: 900 photographs, of which 90 accused; 100 fakes, of which 80 found.
    row = found.loc[("0.5", "10%")]
    assert (row["reals accused"], row["fakes found"], row["of accusations wrong"]) == ("90.0", "80.0", "52.9%")
    assert found.loc[("0.5", "1%"), "of accusations wrong"] == f"{99 / 107:.1%}"
    assert found.loc[("for the target FPR", "50%"), "of accusations wrong"] == "no accusation"
    assert "best on validation" not in found.index.get_level_values("threshold")


def test_a_card_says_what_it_is_made_of_and_where_it_fails():
    text = cards.markdown("probe", ABOUT, {"d": {"probe": judged(0.1), comparison.SHALLOW: judged(0.0)}})
    first, title, *_ = [line for line in text.splitlines() if line]
    assert "Not for judging real images" in first
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
        write_cards(tmp_path)
    (tmp_path / "models/probe").mkdir(parents=True)
    (tmp_path / "models/probe/model.json").write_text(json.dumps(ABOUT))
    write_cards(tmp_path)
    assert (tmp_path / "out/probe.md").read_text().count("## On d") == 1


def write_cards(folder):
    folders = (folder / name for name in ("models", "manifests", "out"))
    cards.write(read_results(folder / "results"), *folders, ["probe"], ["d"])


SOURCES = {"phone": 40, "press": 20, "film": 12, "scan": 4}  # test reals; film and scan are in test alone
GENERATORS = {"gan": 30, "sd14": 20, "flux": 24, "grok": 3}  # test fakes; flux and grok are in test alone


def made_run():
    """A manifest and the scores of its val and test images, in which all of `scan` and half of `film` are accused."""
    rows = []
    for label, counts in enumerate((SOURCES, GENERATORS)):
        for name, num in counts.items():
            kind = {"generator": "real", "source": name} if label == 0 else {"generator": name, "source": ""}
            splits = ["test"] if name in ("film", "scan", "flux", "grok") else ["test", "val", "train"]
            rows += [{"label": label, "split": split, **kind} for split in splits for _ in range(num)]
    table = pd.DataFrame(rows)
    table.insert(0, "path", [f"{number:03}.png" for number in range(len(table))])
    table["extra_licence"] = np.where(table["source"] == "phone", "CC0", np.where(table["label"] == 0, "none", "MIT"))
    rng = np.random.default_rng(0)
    score = np.where(table["label"] == 1, rng.uniform(0.3, 1, len(table)), rng.uniform(0, 0.5, len(table)))
    accused = (table["source"] == "scan") | ((table["source"] == "film") & (table.index % 2 == 0))
    judged = table.drop(columns="extra_licence").assign(view="clean", score=np.where(accused, 0.9, score))
    return table, scores.validate(judged[judged["split"] != "train"], "made")


@pytest.fixture
def made(tmp_path):
    """Folder of a bundle's metadata, its manifest and its results."""
    table, rows = made_run()
    seen = {split: table[table["split"] == split]["generator"] for split in ("train", "val")}
    images = {split: generators.value_counts().to_dict() for split, generators in seen.items()}
    training = {"dataset": "d", "manifest_sha256": "a" * 64, "images": images}
    about = ABOUT | {"detector": "probe", "origin": ABOUT["origin"] | {"training": training, "demonstration": False}}
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/model.json").write_text(json.dumps(about))
    manifest.write(table, tmp_path / "d.csv")
    write_result(evaluate(rows, manifest=table, n_bootstrap=50), tmp_path / "results", "probe", "d")
    return tmp_path


def write_card(folder, *arguments):
    call = ("card", "bundle", "--results", "results", "--date", "2026-11-29", *arguments)
    return aigid(*call, cwd=folder)


def cells(text, start):
    """The cells of the row that begins with this one."""
    row = next(line for line in text.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def tpr(rows, fpr):
    """By trying every threshold."""
    real, fake = (rows.loc[rows["label"] == label, "score"].to_numpy() for label in (0, 1))
    return max([0.0, *(np.mean(fake >= cut) for cut in rows["score"] if np.mean(real >= cut) <= fpr)])


def test_the_numbers_of_a_card_are_those_of_its_scores(made):
    text = write_card(made, "--manifest", "d.csv").stdout
    rows = made_run()[1].query("split == 'test'")
    new = rows["generator"].isin(["flux", "grok"])
    parts = {"all of test": rows, "generators in test alone": rows[new | (rows["label"] == 0)]}
    parts["generators and sources in test alone"] = rows[new | rows["source"].isin(["film", "scan"])]
    for name, part in parts.items():
        expected = [roc_auc_score(part["label"], part["score"]), tpr(part, 0.01), tpr(part, 0.05)]
        counts, found = cells(text, name)[1:3], cells(text, name)[3:]
        assert counts == [str((part["label"] == label).sum()) for label in (0, 1)]
        assert [cell.partition(" [")[0] for cell in found] == [f"{value:.3f}" for value in expected]
        assert all("[" in cell for cell in found)
    assert cells(text, "real | phone")[2:] == ["CC0", "40", "40"]
    assert cells(text, "gan")[2:] == ["MIT", "30", "30"]
    assert not any(line.startswith(("| flux", "| real | film")) for line in text.splitlines())
    accused = np.mean(rows.loc[rows["label"] == 0, "score"] > 0.5)
    assert cells(text, "0.5")[4] == f"{accused * 500:.1f}"
    assert "aigid 0.1, 2026-11-29" in text


def test_the_worst_source_of_a_card_has_enough_images(made):
    """All four photographs of `scan` are accused, but four say little; of `film` six of twelve are."""
    text = write_card(made, "--manifest", "d.csv").stdout
    expected = binomtest(6, 12).proportion_ci(method="wilson")
    share = f"0.500 [{expected.low:.3f}, {expected.high:.3f}]"
    assert f"- the reals it accuses most: film, a share of {share} of 12 at 0.5\n" in text
    assert "- 1 of 4 sources have under 10 test images, too few to be called the worst\n" in text
    assert "- 1 of 4 generators have under 10 test images, too few to be called the worst\n" in text
    assert "the generator it sees least: grok" not in text
    assert cells(text, "worst source FPR")[1].startswith("0.500")


def test_a_card_is_written_to_the_same_bytes(made):
    written = []
    for name in ("one.md", "two.md"):
        done = write_card(made, "--manifest", "d.csv", "--out", name)
        assert (done.exit_code, done.stdout) == (0, "")
        written.append((made / name).read_bytes())
    assert written[0] == written[1] == write_card(made, "--manifest", "d.csv").stdout.encode()


def test_a_card_quotes_false_alarms_on_edited_photographs(made):
    (made / "edits.csv").write_text("source,reals,clean,tone_map,machine\nall,9,0.1,0.333,m\n")
    text = write_card(made, "--manifest", "d.csv", "--edits", "edits.csv").stdout
    assert "## False alarms on edited photographs\n" in text
    assert cells(text, "source") == ["source", "reals", "clean", "tone_map"]
    assert cells(text, "all | 9") == ["all", "9", "0.1", "0.333"]


def test_a_card_quotes_attacks(made):
    numbers = ",".join(risks.ATTACK_NUMBERS)
    rows = f"source,target,attack,strength,images,counted_as,{numbers}\ndetector,detector,pgd,4,generated,generated"
    (made / "attack.csv").write_text(rows + ",0.5" * len(risks.ATTACK_NUMBERS) + "\n")
    text = write_card(made, "--manifest", "d.csv", "--attacks", "attack.csv").stdout
    assert "## What an attacker can do\n" in text
    assert cells(text, "pgd | 4")[:5] == ["pgd", "4", "detector", "0.500 [0.500, 0.500]", "0.500 [0.500, 0.500]"]
    assert "and `--attacks`" in text


def test_a_card_is_refused_where_its_parts_do_not_belong_together(made):
    refused(write_card(made), "bundle: learnt from 'd', which is no list", "--manifest")
    refused(write_card(made, "--manifest", "d.csv", "--dataset", "e"), "results: no metrics of probe/e")
    refused(write_card(made, "--manifest", "d.csv", "--detector", "knn"), "results: no metrics of knn/d")
    table = manifest.read(made / "d.csv")
    manifest.write(table[1:] if table["split"][0] == "train" else table[table["split"] != "val"], made / "other.csv")
    refused(write_card(made, "--manifest", "other.csv"), "other.csv: holds other images than those that bundle learnt")
    refused(aigid("card", "bundle", "--results", "results", "--date", "today", cwd=made), "today")


def test_a_card_of_what_was_trained_elsewhere_is_refused(made):
    metadata = json.loads((made / "bundle/model.json").read_text())
    metadata["origin"] |= {"training": {}, "source": "somebody/detector"}
    (made / "bundle/model.json").write_text(json.dumps(metadata))
    refused(write_card(made, "--manifest", "d.csv"), "does not say which images it learnt from", "somebody/detector")
    for text in ("[]", "{}", '{"origin": 1}', "{"):
        (made / "bundle/model.json").write_text(text)
        refused(write_card(made, "--manifest", "d.csv"), "bundle/model.json: no bundle")


def test_a_card_without_a_manifest_of_its_training_counts_generators(made):
    """As of results that no manifest was given for."""
    metadata = cards.read_metadata(made / "bundle")
    text = cards.markdown("probe", metadata, {"d": {"probe": evaluate(made_run()[1], n_bootstrap=10)}})
    assert cells(text, "gan") == ["gan", "30", "30"]
    assert cells(text, "in test alone: none that a manifest tells apart")[1:] == ["-"] * 5
