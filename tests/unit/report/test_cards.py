"""Model cards, and the ledger of published numbers beside ours."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from aigid.cli.preset import preset_names
from aigid.core import manifest, scores
from aigid.core.errors import InputError
from aigid.data.layouts.folders import GENIMAGE_GENERATORS
from aigid.detectors import registry
from aigid.evaluation import attribution, comparison, dda, protocols
from aigid.evaluation.evaluate import evaluate, read_results, write_result
from aigid.report import cards, false_alarms
from stages import evaluate as stage
from tests.helpers.cli import aigid, refused
from tests.helpers.folders import UFD_SETS

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
    found = false_alarms.per_1000(rates).set_index(["threshold", "generated"])
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


def test_every_line_can_be_followed() -> None:
    table = cards.published_values()
    assert (table.drop(columns="detector") != "").all(axis=None)
    assert set(table["detector"]) <= {"", "dda", *registry.names()}  # DDA's checkpoint is imported
    assert pd.to_numeric(table["published"]).between(0, 1).all()
    assert not table.duplicated(["method", "protocol", "number"]).any()
    for command in table["command"].unique():
        words = shlex.split(command)
        if words[:2] == ["aigid", "preset"]:
            assert words[2] in preset_names()


def test_keys_are_what_the_protocols_give() -> None:
    table = cards.published_values()
    keys = set(table.loc[table["dataset"] == "genimage", "key"])
    parts = {f"genimage_acc_{name}" for name in GENIMAGE_GENERATORS}
    views = {f"genimage_degraded_{view}" for view in protocols.GENIMAGE_VIEWS}
    assert keys == {"genimage_acc", "genimage_degraded", *parts, *views}
    of_sets = {f"{key}_{name}" for key in ("ap", "acc_05", "acc_oracle") for name in UFD_SETS}
    keys = {f"ufd_{key}" for key in ("map", "acc_05", "acc_oracle", *of_sets)}
    assert set(table.loc[table["dataset"] == "ufd", "key"]) == keys
    numbers = protocols.find("gendet_cross").apply(cross_dataset_scores())
    assert set(table.loc[table["dataset"] == "gendet_cross", "key"]) == {f"gendet_cross_{name}" for name in numbers}


def scores_of(dataset: str) -> pd.DataFrame:
    """Test rows of both classes for each set of a protocol, in its views."""
    sets = {"ufd": UFD_SETS, "ntire_test": ("val", "test", "test_private"), "genimage": GENIMAGE_GENERATORS,
            "gendet_cross": ("cogview2", "stylegan", "if"), "defactify": attribution.DEFACTIFY_CLASSES[1:]}  # fmt: skip
    views = {"genimage": (*protocols.GENIMAGE_VIEWS, dda.VIEW), "ntire": ("ntire_train",)}
    views |= dict.fromkeys(dda.COMPRESSED[1:], (dda.VIEW,))
    kinds = [(view, name, label) for view in ("clean", *views.get(dataset, ())) for name in sets.get(dataset, "a")
             for label in (0, 0, 1, 1)]  # fmt: skip
    table = pd.DataFrame(kinds, columns=["view", "source", "label"])
    table["path"] = [f"{number}.png" for number in table.groupby("view").cumcount()]
    table["generator"] = table["source"].where(table["label"] == 1, "real")
    table["score"] = np.random.default_rng(0).uniform(size=len(table))
    if dataset == "ntire_test":
        table["extra_is_distorted"] = [str(number // 2 % 2) for number in range(len(table))]
        table["label"] = [number % 2 for number in range(len(table))]
        table["generator"] = np.where(table["label"] == 1, "unknown", "real")
    if dataset == "evalgen":
        table = table[table["label"] == 1]
    if dataset == "defactify":
        shares = np.random.default_rng(1).dirichlet(np.ones(6), len(table))
        table[[f"class_{name}" for name in attribution.DEFACTIFY_CLASSES]] = shares
    return table.assign(split="test")


def test_every_key_is_one_that_the_stage_writes(tmp_path, monkeypatch) -> None:
    """By the stage ``evaluate`` on scores of each dataset's protocol, under the name that the ledger looks for."""
    ledger = cards.published_values()
    datasets = sorted(set(ledger["dataset"]))
    assert set(datasets) <= set(protocols.PROTOCOLS)
    datasets = sorted({*datasets, *dda.BENCHMARKS})
    for dataset in datasets:
        scores.write(scores_of(dataset), tmp_path / f"scores/{dataset}.csv")
    for dataset in datasets:
        images = scores_of(dataset).drop_duplicates("path")[["path", "label", "generator", "split"]]
        manifest.write(images, tmp_path / f"manifests/{dataset}.csv")
    paths = pd.DataFrame({"path": [f"{number}.png" for number in range(300)], "size": "", "compression": ""})
    monkeypatch.setattr(stage.properties, "read", lambda path: None)
    monkeypatch.setattr(stage.properties, "to_strata", lambda properties: paths)
    (tmp_path / "params.yaml").write_text(json.dumps({"datasets": datasets, "seed": 0, "evaluation": {}}))
    monkeypatch.chdir(tmp_path)
    command = [
        "--detector",
        "any",
        "--scores",
        "scores",
        "--manifests",
        "manifests",
        "--traits",
        "traits",
        "--out",
        "out",
    ]
    assert CliRunner().invoke(stage.main, command).exit_code == 0
    for dataset, rows in ledger.groupby("dataset"):
        written = json.loads((tmp_path / f"out/metrics/any/{dataset}.json").read_text())
        assert not set(rows["key"]) - set(written), dataset
    written = json.loads((tmp_path / "out/metrics/any/dda.json").read_text())
    assert {key for key in written if "_benchmark_" in key} == {f"dda_benchmark_{name}" for name in dda.BENCHMARKS}


def cross_dataset_scores() -> pd.DataFrame:
    rows = [(kind, name) for name in ("cogview2", "stylegan", "if") for kind in (0, 1)]
    table = pd.DataFrame(rows, columns=["label", "source"]).assign(split="test", view="clean", score=0.5)
    return table.assign(generator=table["source"].where(table["label"] == 1, "real"))


@pytest.mark.parametrize(
    ("key", "printed"), [("ap", "ufd_map"), ("acc_oracle", "ufd_acc_oracle"), ("acc_05", "ufd_acc_05")]
)
def test_the_papers_means_of_19_sets_are_those_of_its_cells(key: str, printed: str) -> None:
    table = cards.published_values().query("dataset == 'ufd'")
    means = table[table["key"] == printed].set_index("method")["published"].astype(float)
    for method, rows in table[table["key"].isin([f"ufd_{key}_{name}" for name in UFD_SETS])].groupby("method"):
        assert len(rows) == 19
        wrong = 0.0005 if method.startswith("Spec") and key == "acc_05" else 0  # prints 55.45 for 55.50
        assert rows["published"].astype(float).mean() - wrong == pytest.approx(means[method], abs=1e-4)


@pytest.mark.parametrize(
    ("method", "mean", "printed_wrong_by"),
    [
        ("GenDet", "genimage_acc", 0),
        ("GenDet", "genimage_degraded", 0),
        ("linear probe (Ojha et al., as GenDet reports it)", "genimage_acc", 0),
        ("linear probe (Ojha et al., as GenDet reports it)", "genimage_degraded", 0.0018),  # 78.3 for 78.48
    ],
)
def test_the_papers_averages_are_those_of_its_cells(method: str, mean: str, printed_wrong_by: float) -> None:
    table = cards.published_values().query("method == @method and dataset == 'genimage'").set_index("key")["published"]
    cells = [float(value) for key, value in table.items() if key.startswith(f"{mean}_")]
    assert len(cells) == {"genimage_acc": 8, "genimage_degraded": 6}[mean]
    assert sum(cells) / len(cells) - printed_wrong_by == pytest.approx(float(table[mean]), abs=6e-4)


def test_ddas_mean_and_minimum_are_those_of_its_benchmarks() -> None:
    table = cards.published_values().query("method == 'DDA'").set_index("key")["published"].astype(float)
    cells = table[table.index.str.startswith("dda_benchmark_")].to_dict()
    assert len(cells) == 11
    assert sum(cells.values()) / 11 == pytest.approx(table["dda_mean_of_11"], abs=6e-4)
    assert min(cells.values()) == pytest.approx(table["dda_min_of_11"], abs=6e-4)


def test_ours_is_measured_or_says_what_it_needs(tmp_path) -> None:
    folder = tmp_path / "metrics/gendet"
    folder.mkdir(parents=True)
    (folder / "ufd.json").write_text(json.dumps({"ufd_map": 0.912345}))
    cards.write_ledger(tmp_path, tmp_path / "report")
    lines = (tmp_path / "report/ledger.md").read_text().splitlines()
    gendet = [line for line in lines if line.startswith("| GenDet | ")]
    assert sum("| 0.9564 | 0.9123 |" in line for line in gendet) == 1
    assert sum("ufd.json has no ufd_acc_oracle" in line for line in gendet) == 1 + len(UFD_SETS)
    assert all("not run: needs" in line for line in gendet if "ufd" not in line)
    assert sum("not run: needs" in line for line in lines if line.startswith("| AD w/ fake")) == 40
