"""Benchmark tables carry the machine, versions and commit that measured them, and never mix two experiments."""

import ast
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from rich.table import Table

from aigid.core import embeddings, manifest
from aigid.detectors.gendet.settings import GenDetSettings
from aigid.detectors.samples import open_dataset
from benchmarks import gendet_ablation, nycu, record
from tests.helpers.embeddings import separable_rows, write_embeddings

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = {
    "__init__",
    "record",
    "loops",
    "pictures",
    "extract_gpu",
    "extract_storage",
    "object_store",
    "sef_gradients",
}  # print no table of their own


def test_a_table_is_printed_and_written_with_its_provenance(tmp_path, capsys) -> None:
    table = Table("engine", "ratio", "ratio", title="2 rounds")
    table.add_row("local", "1.00", "0.98")
    path = record.publish(table, "engines", tmp_path / "new")
    assert "engine" in capsys.readouterr().out
    written = pd.read_csv(path, dtype=str).iloc[0]
    assert written[["engine", "ratio", "ratio (2)", "settings"]].tolist() == ["local", "1.00", "0.98", "2 rounds"]
    assert set(record.PROVENANCE) <= set(written.index)
    assert written[list(record.PROVENANCE)].notna().all()


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_every_benchmark_writes_its_table(path: Path) -> None:
    text = path.read_text()
    assert path.stem in LIBRARIES or "record.publish(" in text or "record.write_table(" in text
    assert path.stem in LIBRARIES or "@record.out_option" in text
    ast.parse(text)


def test_runs_go_on_after_a_kill(tmp_path) -> None:
    key = record.experiment_key(settings={"margin": 2.0}, rows="abc", limit=None)
    runs = record.Runs(tmp_path / "runs.csv", key)
    runs.add({"cell": "full", "seed": 0, "auroc": 0.75})
    again = record.Runs(tmp_path / "runs.csv", key)
    assert again.has("full", 0)
    assert not again.has("full", 1)
    assert again.table()["auroc"].tolist() == [0.75]


@pytest.mark.parametrize("changed", [{"settings": {"margin": 4.0}}, {"rows": "abd"}, {"limit": 100}])
def test_runs_of_other_settings_rows_or_limit_are_refused(tmp_path, changed) -> None:
    inputs = {"settings": {"margin": 2.0}, "rows": "abc", "limit": None}
    record.Runs(tmp_path / "runs.csv", record.experiment_key(**inputs)).add({"cell": "full", "seed": 0})
    with pytest.raises(click.BadParameter, match=r"cell 'full', seed 0 was run with other settings, rows or limit"):
        record.Runs(tmp_path / "runs.csv", record.experiment_key(**(inputs | changed)))


def test_runs_without_a_key_are_refused(tmp_path) -> None:
    (tmp_path / "old.csv").write_text("cell,seed,auroc\nfull,0,0.75\n")
    with pytest.raises(click.BadParameter, match=r"old\.csv"):
        record.Runs(tmp_path / "old.csv", "any")


@pytest.fixture
def dataset(tmp_path):
    """Rows in the order of their paths: 30 groups of eight images, in a group four of each class; two generators."""
    rows, split = separable_rows(0, 240, 10), np.repeat(["train", "val", "test"], 80)
    table = pd.DataFrame({"path": [f"{k:03}.png" for k in range(240)], "label": rows.y, "split": split})
    table["generator"] = np.where(rows.y == 0, "real", np.where(np.arange(240) % 4 == 1, "a", "b"))
    table["group"] = [f"g{k // 8}" for k in range(240)]
    table["sha256"] = [f"{k:064x}" for k in range(240)]
    x = {"clean": rows.x.astype("float16")}
    write_embeddings(tmp_path / "e.h5", x, table["sha256"], [embeddings.OK] * 240, {"fingerprint": ["b"]})
    return open_dataset(manifest.validate(table, "m"), [tmp_path / "e.h5"])


def test_a_limit_draws_rows_of_each_class(dataset) -> None:
    rows = dataset.split("train")
    few = gendet_ablation.sample(rows, 10)
    assert np.bincount(few.y).tolist() == [10, 10]
    assert set(few.paths) < set(rows.paths)
    assert list(few.paths) == sorted(few.paths)
    assert max(few.paths) > "060.png"  # and not the first ones by path
    assert gendet_ablation.sample(rows, None) is rows


def test_folds_hold_out_whole_groups_of_train_and_val_and_a_generator_in_turn(dataset) -> None:
    folds = gendet_ablation.folds_of(dataset, None, 4)
    assert sorted(path for fold in folds for path in fold.test.paths) == [f"{k:03}.png" for k in range(160)]
    for number, fold in enumerate(folds):
        trained = {f"g{int(path[:3]) // 8}" for path in fold.train.paths}
        assert not trained & set(fold.groups)
        assert set(fold.train.generators) == {"real", "ba"[number % 2]}
        assert set(fold.test.generators) == {"real", "a", "b"}
    alone = gendet_ablation.folds_of(dataset, None, None)
    assert len(alone) == 1
    assert (alone[0].train.paths < "080").all()
    assert (alone[0].test.paths >= "160").all()


SECTION = {
    "backbone": "b", "dataset": "d", "learning_rate": 1e-3, "num_rotations": 2, "batch_size": 32,
    "teacher": {"num_tokens": 1, "width": 16, "heads": 2, "epochs": 2, "learning_rate": 1e-3},
    "classifier": {"epochs": 2, "learning_rate": 1e-3},
}  # fmt: skip


def test_every_cell_is_a_setting_of_its_own() -> None:
    settings = GenDetSettings.model_validate(SECTION | {"num_rotations": 10, "learning_rate": 5e-4})
    for table in gendet_ablation.TABLES.values():
        cells = [gendet_ablation.of_cell(cell, settings).model_dump_json() for cell in table.values()]
        assert len(set(cells)) == len(cells)


def test_a_table_has_differences_within_seeds_and_goes_on_after_a_kill(dataset, tmp_path) -> None:
    """Against numpy on the runs' own lines; the second call trains nothing and finds the same."""
    settings, folds = GenDetSettings.model_validate(SECTION), gendet_ablation.folds_of(dataset, None, None)
    names = (gendet_ablation.UNTRAINED, gendet_ablation.TEACHER, "full")
    cells = {name: gendet_ablation.of_cell(gendet_ablation.PARTS[name], settings) for name in names}
    runs, draws = record.Runs(tmp_path / "runs.csv", "k"), {}
    for row, scores in gendet_ablation.train_cells(folds, cells, 3, runs):
        runs.add(row)
        draws[row["cell"][:-2], row["seed"]] = gendet_ablation.auroc_draws(folds[0].test.y, scores, folds[0].groups)
    again = record.Runs(tmp_path / "runs.csv", "k")
    assert not list(gendet_ablation.train_cells(folds, cells, 3, again))
    table = gendet_ablation.summarize(again.table(), draws, folds).set_index("cell")
    assert table["seeds"].tolist() == [3, 3, 3]
    assert table["steps"].tolist() == [0, 0, 4]  # two rotations of two batches of 40 reals
    by_seed = again.table().pivot(index="seed", columns="cell", values="auroc")
    difference = by_seed["full/0"] - by_seed[f"{gendet_ablation.UNTRAINED}/0"]
    assert table.loc["full", "minus_untrained"] == pytest.approx(difference.mean(), abs=1e-4)
    assert table.loc["full", "minus_untrained_sd"] == pytest.approx(np.std(difference, ddof=1), abs=1e-4)
    assert table.loc["full", "auroc_sd"] == pytest.approx(np.std(by_seed["full/0"], ddof=1), abs=1e-4)
    low, high = table.loc["full", ["minus_untrained_low", "minus_untrained_high"]]
    assert low < table.loc["full", "minus_untrained"] < high
    assert (table.loc[gendet_ablation.UNTRAINED, ["minus_untrained_low", "minus_untrained_high"]] == 0).all()


def test_nycus_differences_are_within_seeds() -> None:
    """Seeds that differ by 0.2 hide a gain of 0.01 from means and deviations, not from the differences."""
    rows = [
        {"cell": cell, "seed": seed, "auroc": 0.9, "perturbed": 0.5, **dict.fromkeys(nycu.TESTED, 0.5)}
        | {"clean": 0.5 + 0.2 * seed + 0.01 * (cell != "network: rgb")}
        for cell in ("network: rgb error", "network: rgb")
        for seed in (1, 0)
    ]
    table = nycu.summary(pd.DataFrame(rows))
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["trained"] == ["network: rgb", "network: rgb error"]
    assert cells["clean"] == ["0.600 +- 0.141", "0.610 +- 0.141"]
    assert cells["clean - base"] == ["", "+0.010 +- 0.000"]
    assert cells["base"] == ["", "network: rgb"]


def test_nycus_draws_are_balanced_and_change_with_the_seed() -> None:
    names = [(split, name) for split in nycu.IMAGES for name in ("real", "sd14") for _ in range(700)]
    table = pd.DataFrame(names, columns=["split", "generator"]).assign(path=[f"{k}.jpg" for k in range(len(names))])
    first, again, other = (nycu.draw(table, seed) for seed in (0, 0, 1))
    counts = first.groupby(["split", "generator"]).size()
    assert all(counts[split, name] == num for split, num in nycu.IMAGES.items() for name in ("real", "sd14"))
    assert first.equals(again)
    assert set(first["path"]) != set(other["path"])
