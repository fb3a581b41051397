"""Benchmark tables carry the machine, versions and commit that measured them, and never mix two experiments."""

import ast
from pathlib import Path

import click
import pandas as pd
import pytest
from rich.table import Table

from benchmarks import record

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = {
    "__init__",
    "record",
    "loops",
    "pictures",
    "extract_gpu",
    "extract_storage",
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
