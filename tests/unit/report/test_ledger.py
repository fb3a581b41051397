"""The ledger of published numbers beside ours: sources, commands, keys, and statuses that are computed again."""

import importlib
import json
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from aigid import detectors
from aigid.cli.main import main
from aigid.cli.preset import preset_names
from aigid.core import manifest, scores
from aigid.core.errors import InputError
from aigid.data.layouts.folders import GENIMAGE_GENERATORS
from aigid.evaluation import attribution, dda, protocols
from aigid.evaluation.evaluate import evaluate
from aigid.report import ledger
from stages import evaluate as stage
from tests.helpers.folders import UFD_SETS

ROOT = Path(__file__).resolve().parents[3]


def published() -> pd.DataFrame:
    return ledger.read(ROOT / "results/ledger")


def test_every_row_can_be_followed() -> None:
    """It has a source, a locator, a value with its tolerance, a known detector, and stands once."""
    table = published()
    needed = ["paper", "source", "locator", "method", "dataset", "subset", "metric", "command", "status"]
    assert (table[needed] != "").all(axis=None)
    assert table["source"].str.fullmatch(r"https://\S+").all()
    assert table["value"].between(0, 1).all()
    assert table["tolerance"].between(1e-4, 0.02).all()
    assert set(table["detector"]) <= {"", "dda", *detectors.names()}  # DDA's checkpoint is imported
    assert (table.loc[table["detector"] != "", "key"] != "").all()
    assert not table.duplicated(["paper", "method", "dataset", "subset", "metric"]).any()
    papers = " ".join(table["paper"].unique())
    for name in ("GenImage", "Chameleon", "LaDeDa", "NTIRE 2026", "AIGIBench", "Community Forensics"):
        assert name in papers
    assert {"clean ROC AUC", "robust ROC AUC"} <= set(table["metric"])


def test_every_status_is_what_the_results_here_give() -> None:
    table = published()
    known = [ledger.status(row, ledger.measured(row, ROOT / "results")) for _, row in table.iterrows()]
    wrong = table["status"] != known
    assert not wrong.any(), table[wrong].iloc[0]


def parse(words: list[str]) -> None:
    """Let click parse a call of ours, every option and value, and run nothing; a stage of DVC has to be one."""
    if words[:2] in (["dvc", "repro"], ["dvc", "exp"]):
        targets = [word for word in re.sub(r"-S \S+", "", " ".join(words[2:])).split() if word != "run"]
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        for stage, _, name in (target.partition("@") for target in targets):
            assert stage in stages, words
            assert not name or name in stages[stage]["foreach"] or name in stages["train"]["foreach"], words
        return
    command = main if words[0] == "aigid" else importlib.import_module(words[2]).main
    assert words[0] == "aigid" or words[:2] == ["python", "-m"], words
    arguments = words[1:] if words[0] == "aigid" else words[3:]
    context = click.Context(command)
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
    command.make_context(command.name, list(arguments))
    if words[:2] == ["aigid", "preset"]:
        assert words[2] in preset_names()


@pytest.mark.parametrize("command", sorted(set(ledger.read(ROOT / "results/ledger")["command"])))
def test_every_command_parses(command: str) -> None:
    for part in command.split(" && "):
        parse(shlex.split(part))


@pytest.mark.parametrize(
    "bad", ["aigid evaluat S.csv", "aigid evaluate S.csv --protocl ufd", "dvc repro evaluate@nosuch"]
)
def test_one_that_does_not_is_seen(bad: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parse(shlex.split(bad))


def test_keys_are_what_the_protocols_give() -> None:
    table = published()
    keys = set(table.loc[table["dataset"] == "genimage", "key"]) - {""}
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
    table = published().query("key != ''")
    datasets = sorted(set(table["dataset"]))
    assert set(datasets) <= set(protocols.PROTOCOLS)
    datasets = sorted({*datasets, *dda.BENCHMARKS})
    for dataset in datasets:
        scores.write(scores_of(dataset), tmp_path / f"scores/{dataset}.csv")
    for dataset in datasets:
        images = scores_of(dataset).drop_duplicates("path")[["path", "label", "generator", "split"]]
        manifest.write(images, tmp_path / f"manifests/{dataset}.csv")
    paths = pd.DataFrame({"path": [f"{number}.png" for number in range(300)], "size": "", "compression": ""})
    monkeypatch.setattr(stage, "evaluate", partial(evaluate, n_bootstrap=0))
    monkeypatch.setattr(stage.traits, "read", lambda path: None)
    monkeypatch.setattr(stage.traits, "to_strata", lambda properties: paths)
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
    for dataset, rows in table.groupby("dataset"):
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
    table = published().query("dataset == 'ufd'")
    means = table[table["key"] == printed].set_index("method")["value"]
    for method, rows in table[table["key"].isin([f"ufd_{key}_{name}" for name in UFD_SETS])].groupby("method"):
        assert len(rows) == 19
        wrong = 0.0005 if method.startswith("Spec") and key == "acc_05" else 0  # prints 55.45 for 55.50
        assert rows["value"].mean() - wrong == pytest.approx(means[method], abs=1e-4)


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
    table = published().query("method == @method and dataset == 'genimage'").set_index("key")["value"]
    cells = [float(value) for key, value in table.items() if key.startswith(f"{mean}_")]
    assert len(cells) == {"genimage_acc": 8, "genimage_degraded": 6}[mean]
    assert sum(cells) / len(cells) - printed_wrong_by == pytest.approx(float(table[mean]), abs=6e-4)


def test_ddas_mean_and_minimum_are_those_of_its_benchmarks() -> None:
    table = published().query("method == 'DDA'").set_index("key")["value"]
    cells = table[table.index.str.startswith("dda_benchmark_")].to_dict()
    assert len(cells) == 11
    assert sum(cells.values()) / 11 == pytest.approx(table["dda_mean_of_11"], abs=6e-4)
    assert min(cells.values()) == pytest.approx(table["dda_min_of_11"], abs=6e-4)


def test_ours_is_measured_or_says_what_it_needs(tmp_path: Path) -> None:
    """Within the tolerance of its row, beyond it, of a file without the number, and without a file."""
    folder = tmp_path / "metrics/gendet"
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "results/ledger", tmp_path / "ledger")
    (folder / "ufd.json").write_text(json.dumps({"ufd_map": 0.9601, "ufd_acc_oracle": 0.9}))
    ledger.write(tmp_path, tmp_path / "report")
    text = (tmp_path / "report/ledger.md").read_text()
    assert "753 numbers: 1 differs, 751 not run, 1 reproduced.".replace("753", str(len(published()))) in text
    assert "| GenDet | all 19 sets | mAP | 0.9564 | reproduced: 0.9601 |" in text
    assert "| GenDet | all 19 sets | accuracy (threshold of each set) | 0.9442 | differs: 0.9000 |" in text
    assert "needs ufd_ap_progan in " in text
    assert "| Swin-T | mean of 8 | accuracy at 0.5 | 0.748 | not run |" in text
    claimed = ledger.read(tmp_path / "ledger").assign(status="reproduced").iloc[0]
    assert ledger.status(claimed, ledger.measured(claimed, tmp_path / "nowhere")).startswith("not run: needs ")
    with pytest.raises(InputError, match=r"no \.csv file of published numbers"):
        ledger.read(folder)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"value": ""}, "value: 'nan': want a number"),
        ({"tolerance": "-1"}, "tolerance: '-1.0': want a number from 0"),
        ({"status": "maybe"}, "status: 'maybe': want reproduced, differs, or not run: needs X"),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused(tmp_path: Path, cells: dict[str, str], message: str) -> None:
    published().iloc[:2].assign(**cells).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=rf"a\.csv: row 1 \(line 2\), column {message}"):
        ledger.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"auroc": "high"}'])
def test_results_that_are_no_metrics_are_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics/probe").mkdir(parents=True)
    (tmp_path / "metrics/probe/x.json").write_text(text)
    row = published().iloc[0].copy()
    row[["detector", "dataset", "key"]] = "probe", "x", "auroc"
    with pytest.raises(InputError, match=r"probe/x\.json: no metrics, 'auroc' among them"):
        ledger.measured(row, tmp_path)
