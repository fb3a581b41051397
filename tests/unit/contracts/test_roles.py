"""A dataset with a role enters no training, calibration or choice, by whichever way it comes."""

import json
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from aigid.cli import preset
from aigid.cli.main import main
from aigid.core import manifest, params, scores
from aigid.core.errors import InputError
from aigid.data.index import IndexSettings, build_manifest
from aigid.detectors import names
from aigid.detectors.sef.data import PAIRS_FILE, open_pairs
from aigid.detectors.sef.settings import SamplingSettings
from aigid.detectors.sef.training import PairBatches
from aigid.evaluation.evaluate import evaluate
from aigid.report import report, studies
from stages import align, controls, cross, train, train_featdistill, train_gendet_teacher, vae
from tests.helpers.folders import plant

RULE = "its role is never_train: nothing is trained, calibrated or chosen on it"
WILD = "wild.csv"
WILD_SET = ("--dataset", "wild", "--manifest", WILD)


def rows(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(4)], "label": [0, 1] * 2, "split": "test"})
    return table.assign(generator=["real", "x"] * 2, **columns)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's parameters beside a manifest whose images have a role."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(preset.text("demo"))
    manifest.write(rows(extra_role="never_train"), WILD)
    manifest.write(rows(extra_role="never_train"), "demo.csv")  # as the stage of the controls looks for it
    for name in ("demo", "demo6", "wild"):
        Path("data/images", name).mkdir(parents=True)
    return tmp_path


FITS: list[tuple[click.Command, list[str]]] = [
    *((train.main, ["--detector", name, "--manifest", WILD, "--out", "m"]) for name in names() if name != "sef"),
    (train.main, ["--detector", "sef", "--dataset", "wild", "--manifest", f"vae={WILD}", "--out", "m"]),
    (train_gendet_teacher.main, ["--manifest", WILD, "--embeddings", "e.h5", "--out", "m", "--log", "l"]),
    (train_featdistill.main, ["--expert", "lite0_1", *WILD_SET, "--out", "m", "--log", "l"]),
    (vae.main, [*WILD_SET, "--out", "m"]),
    (align.main, ["--domain", "gan", *WILD_SET, "--out", "m"]),
    (cross.main, ["--detector", "probe", "--manifest", WILD, "--embeddings", "e.h5", "--out", "c.csv"]),
    (controls.main, ["--manifests", ".", "--embeddings", ".", "--traits", ".", "--out", "m"]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "arguments"), FITS, ids=lambda part: part[1] if isinstance(part, list) else None)
def test_no_stage_learns_from_it(folder: Path, command: click.Command, arguments: list[str]) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2, done.output
    assert RULE in done.output
    assert done.output.count("\n") == 1
    assert {path.name for path in folder.iterdir()} == {"params.yaml", WILD, "demo.csv", "data"}


@pytest.mark.parametrize("name", preset.preset_names())
def test_no_parameter_of_a_preset_names_it(folder: Path, name: str) -> None:
    document = yaml.safe_load(preset.text(name))
    dataset = document["probe"]["dataset"]
    document["index"][dataset] = {"layout": "csv", "role": "never_train"}
    Path("params.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=rf"\.dataset: '{dataset}': {RULE}"):
        params.read(Path("params.yaml"))


def test_no_section_may_name_it(folder: Path) -> None:
    """Each that has a dataset, as `dvc exp run -S SECTION.dataset=wild` sets it; perturbation only scores."""
    document = yaml.safe_load(preset.text("demo"))
    document["index"]["wild"] = {"layout": "csv", "role": "never_train"}
    sections = [name for name, values in document.items() if isinstance(values, dict) and "dataset" in values]
    assert set(names()) - {"sef"} < set(sections)
    for name in sections:
        changed = document | {name: document[name] | {"dataset": "wild"}}
        Path("params.yaml").write_text(yaml.safe_dump(changed))
        if name == "perturbation":
            params.read(Path("params.yaml"))
            continue
        with pytest.raises(InputError, match=rf"params.yaml: {name}\.dataset: 'wild': {RULE}"):
            params.read(Path("params.yaml"))


@pytest.mark.parametrize("name", ["chameleon", "synthwildx", "wildrf", "bfree_online", "synthbuster", "ntire_test"])
def test_a_benchmark_to_test_on_has_a_role_in_each_preset(name: str) -> None:
    entries = [yaml.safe_load(preset.text(known))["index"].get(name) for known in preset.preset_names()]
    roles_given = {entry["role"] for entry in entries if entry}
    assert roles_given == {"test_only" if name in ("synthbuster", "ntire_test") else "in_the_wild"}


def test_a_row_with_a_role_is_in_test_alone(tmp_path: Path) -> None:
    sha = ["a" * 64, "b" * 64, "a" * 64, ""]
    mixed = rows(extra_role=["never_train", "", "", ""], sha256=sha)
    assert len(manifest.validate(mixed, "m")) == 4
    for bad, message in (
        (mixed.assign(split=["test", "train", "train", "val"]), "row 3 .*'2.png': its role, or its twin's"),
        (mixed.assign(split=["train", "test", "test", "test"]), "row 1 .*'0.png': its role"),
        (mixed.assign(extra_role="holdout"), "'holdout': want never_train, test_only, in_the_wild"),
    ):
        with pytest.raises(InputError, match=message):
            manifest.validate(bad, "m")


def test_scores_on_it_fit_no_calibrator(tmp_path: Path) -> None:
    table = rows(view="clean", score=[0.1, 0.9, 0.2, 0.8], extra_role="in_the_wild")
    assert evaluate(scores.validate(table, "s"), n_bootstrap=0).deployment is None
    table.assign(split=["val", "val", "test", "test"]).to_csv(tmp_path / "s.csv", index=False)
    done = CliRunner().invoke(main, ["evaluate", str(tmp_path / "s.csv")])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "'0.png': its role" in done.output


def test_its_aligned_pairs_are_not_trained_on(tmp_path: Path) -> None:
    plant(tmp_path, "test/real/0.png", "test/fake/0.png")
    (tmp_path / PAIRS_FILE).write_text(json.dumps({"real": "test/real/0.png", "fake": "test/fake/0.png"}))
    settings = SamplingSettings()
    with pytest.raises(InputError, match="no pair in its training split"):
        PairBatches([open_pairs(tmp_path).split("train")], settings, 32, 0)


@pytest.mark.usefixtures("cache_outside")
def test_an_index_gives_the_role_and_leaves_the_rest_out(tmp_path: Path) -> None:
    classes = [f"{split}/{kind}" for split in ("train", "test") for kind in ("REAL", "FAKE")]
    plant(tmp_path / "i", *(f"{name}/{n}.jpg" for name in classes for n in range(3)))
    lines: list[str] = []
    table, _ = build_manifest(tmp_path / "i", IndexSettings(layout="cifake", role="in_the_wild"), 0, lines.append)
    assert table[["split", "extra_role"]].value_counts().to_dict() == {("test", "in_the_wild"): 6}
    assert "role in_the_wild: 6 images that are to learn from are left out" in lines
    command = ["index", str(tmp_path / "i"), "--layout", "cifake", "--out", str(tmp_path / "m.csv"), "--role"]
    assert CliRunner().invoke(main, [*command, "test_only"]).exit_code == 0
    assert set(manifest.read(tmp_path / "m.csv")["extra_role"]) == {"test_only"}
    done = CliRunner().invoke(main, [*command, "secret"])
    assert (done.exit_code, "want never_train, test_only, in_the_wild" in done.output) == (2, True)


def test_the_report_groups_by_role() -> None:
    rng, results = np.random.default_rng(0), {}
    for dataset, role in (("a", "in_the_wild"), ("b", ""), ("c", "in_the_wild")):
        table = rows(view="clean", score=rng.random(4)).assign(**({"extra_role": role} if role else {}))
        results["probe", dataset] = evaluate(scores.validate(table, "s"), n_bootstrap=0)
    datasets = report.by_dataset(results)
    assert list(datasets) == ["b", "a", "c"]
    table = studies.by_role(datasets).set_index("role")
    assert table["datasets"].to_dict() == {"none": "b", "in_the_wild": "a, c"}
    mean = np.mean([results["probe", name].metrics["auroc"] for name in "ac"])
    assert table.loc["in_the_wild", "probe"] == f"{mean:.3f}"
    assert studies.by_role({"b": datasets["b"]}).empty
