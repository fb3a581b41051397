"""The ledger tells published numbers, and ours only where they were measured."""

import json
import shlex

import pandas as pd
import pytest

from aigid.cli.preset import preset_names
from aigid.data.layouts.folders import GENIMAGE_GENERATORS
from aigid.detectors import registry
from aigid.evaluation import protocols
from aigid.report import cards


def test_every_line_can_be_followed() -> None:
    table = cards.published_values()
    assert (table.drop(columns="detector") != "").all(axis=None)
    assert set(table["detector"]) <= {"", *registry.names()}
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
    assert set(table.loc[table["dataset"] == "ufd", "key"]) == {"ufd_map", "ufd_acc_oracle"}


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
    cells = table[table.index.str.startswith("benchmark_")].to_dict()
    assert len(cells) == 11
    assert sum(cells.values()) / 11 == pytest.approx(table["mean"], abs=6e-4)
    assert min(cells.values()) == pytest.approx(table["min"], abs=6e-4)


def test_ours_is_measured_or_says_what_it_needs(tmp_path) -> None:
    folder = tmp_path / "metrics/gendet"
    folder.mkdir(parents=True)
    (folder / "ufd.json").write_text(json.dumps({"ufd_map": 0.912345}))
    cards.write_ledger(tmp_path, tmp_path / "report")
    lines = (tmp_path / "report/ledger.md").read_text().splitlines()
    gendet = [line for line in lines if line.startswith("| GenDet | ")]
    assert sum("| 0.9564 | 0.9123 |" in line for line in gendet) == 1
    assert sum("ufd.json has no ufd_acc_oracle" in line for line in gendet) == 1
    assert all("not run: needs" in line for line in gendet if "ufd" not in line)
    assert sum("not run: needs" in line for line in lines if line.startswith("| AD w/ fake")) == 2
