"""A detector that ages is seen to, one that does not is not; dates become batches, or are refused by name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from aigid.cli.main import main
from aigid.core import manifest, scores
from aigid.core.errors import InputError
from aigid.data.index import IndexSettings, build_manifest
from aigid.detectors.protocol import scores_frame
from aigid.evaluation import over_time
from aigid.evaluation.evaluate import evaluate, read_results, write_result
from aigid.metrics import change_points
from aigid.metrics.decisions import EvaluationSettings
from aigid.report import report
from tests.helpers.folders import plant

MONTHS = [f"2026-{month:02}" for month in range(1, 9)]


def dated(shift: float = 0.0, since: str = "2026-06", seed: int = 0) -> pd.DataFrame:
    """A scores file of eight months of 60 images and a validation; from one month on fakes look more like reals."""
    rng, num = np.random.default_rng(seed), 60 * len(MONTHS)
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(num + 80)], "label": np.arange(num + 80) % 2})
    table["extra_date"] = [*np.repeat(MONTHS, 60), *[""] * 80]
    table["split"] = ["test"] * num + ["val"] * 80
    fake = np.where((table["extra_date"] >= since) & (table["split"] == "test"), 2.0 - shift, 2.0)
    table["score"] = 1 / (1 + np.exp(-rng.normal(np.where(table["label"] == 1, fake, -2.0))))
    return scores.validate(table.assign(generator=np.where(table["label"] == 1, "g", "real"), view="clean"), "s")


def test_a_detector_that_ages_is_seen_to(tmp_path: Path) -> None:
    result = evaluate(dated(3.0), n_bootstrap=20)
    assert [(change["metric"], change["date"]) for change in result.changes][:1] == [("auroc", "2026-06")]
    assert not any(change["metric"] == "fpr" for change in result.changes)  # photographs score as before
    batches = result.parts("date").set_index("name")
    assert batches.index.tolist() == MONTHS
    alone = dated(3.0).query("split == 'val' or extra_date == '2026-07'").assign(extra_date="")
    expected = evaluate(alone, n_bootstrap=0).parts("all").iloc[0]
    for name in ("auroc", "fpr_operating", "ece", "num_real"):
        assert batches.loc["2026-07", name] == pytest.approx(expected[name]), name
    assert batches["auroc_low"].notna().all()
    assert result.metrics["num_batches"] == 8
    assert result.metrics["num_changes_auroc"] == 1
    assert any(line.startswith("auroc changes with 2026-06: 0.") for line in result.warnings)
    write_result(result, tmp_path, "probe", "d")
    assert read_results(tmp_path)["probe", "d"].changes == result.changes


def test_one_that_does_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 5 % of series have a change of any of the three metrics."""
    monkeypatch.setattr(change_points, "MAX_PERMUTATIONS", 199)
    alarms = sum(bool(over_time.find_changes(over_time_rows(seed), 0.5, seed)) for seed in range(20))
    assert alarms <= 3


def over_time_rows(seed: int) -> pd.DataFrame:
    rows = dated(seed=seed).query("split == 'test'").groupby("extra_date").head(20)
    return rows.assign(date=rows["extra_date"])


@pytest.mark.parametrize(
    ("dates", "period", "batches"),
    [
        (["2026-05-31", "2026-06-01"], "week", ["2026-W22", "2026-W23"]),
        (["2026-05-31", "2026-06-01"], "month", ["2026-05", "2026-06"]),
        (["2026-01-01", "2027"], "year", ["2026", "2027"]),
        (["2026-03", "2026-04-30"], "quarter", ["2026-Q1", "2026-Q2"]),
        (["2026", "2024"], None, ["2026", "2024"]),
        (["2024-02-29", "2024-03-01"], "day", ["2024-02-29", "2024-03-01"]),
    ],
)
def test_dates_become_batches(dates: list[str], period: str | None, batches: list[str]) -> None:
    assert over_time.to_batches(pd.Series(dates), period).tolist() == batches


@pytest.mark.parametrize(
    ("dates", "period", "message"),
    [
        (["2026-05-31", "31.5.2026"], None, "'31.5.2026': want a date"),
        (["2026-02-30"], None, "'2026-02-30': want a date"),
        (["2026-13"], "month", "'2026-13': want a date"),
        (["2026", "0999"], None, "'0999': want a date"),
        (["2026", "2026-05"], None, "'2026-05': other dates have another form: name a period"),
        (["2026-05"], "week", "'2026-05': want a date with more parts for batches by week"),
    ],
)
def test_what_is_no_date_is_refused_by_name(dates: list[str], period: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        over_time.to_batches(pd.Series(dates), period)


def test_an_image_with_a_wrong_date_is_named_itself() -> None:
    """Not by its row among the test images that have a date."""
    table = dated()
    table.loc[table.index[:9], "extra_date"] = ""
    bad = table.query("split == 'test'").index[-1]
    table.loc[bad, "extra_date"] = "yesterday"
    named = f"'{table.loc[bad, 'path']}', column extra_date: 'yesterday': want a date"
    with pytest.raises(InputError, match=f"^{named}"):
        evaluate(table, n_bootstrap=0, settings=EvaluationSettings(period="month"))
    result = evaluate(table, n_bootstrap=0)  # a column that nobody asked about stops nothing
    assert result.changes is None
    assert "num_batches" not in result.metrics
    assert any(line.startswith(f"nothing is shown over time: {named}") for line in result.warnings)


def test_very_many_dates_are_batches_only_by_a_period() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=201).strftime("%Y-%m-%d"))
    with pytest.raises(InputError, match="column extra_date: 201 dates: name a period"):
        over_time.to_batches(days, None)
    assert over_time.to_batches(days, "month").nunique() == 7
    assert over_time.to_batches(days[:200], None).nunique() == 200


def test_without_dates_nothing_is_over_time() -> None:
    table = dated().drop(columns="extra_date")
    result = evaluate(table, n_bootstrap=0, settings=EvaluationSettings(period="month"))
    assert result.changes is None
    assert "num_batches" not in result.metrics
    assert "date" not in set(result.details["kind"])


def test_images_without_a_date_are_counted() -> None:
    table = dated()
    table.loc[:9, "extra_date"] = ""
    assert "10 test images have no date: they are not in what is shown over time" in evaluate(table, 0, 0).warnings


def test_the_command_shows_it(tmp_path: Path) -> None:
    file, out = tmp_path / "s.csv", tmp_path / "out"
    dated(3.0).to_csv(file, index=False)
    done = CliRunner().invoke(main, ["evaluate", str(file), "--over-time", "quarter", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_batches"] == 3
    assert "auroc changes with 2026-Q2" in done.stderr or "auroc changes with 2026-Q3" in done.stderr
    page = (out / "report/index.html").read_text()
    assert "Over time: scores" in page
    assert "2026-Q1" in page
    dated().drop(columns="extra_date").to_csv(file, index=False)
    done = CliRunner().invoke(main, ["evaluate", str(file), "--over-time", "week"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "--over-time week: no image has a date in a column 'extra_date'" in done.output


def test_a_report_of_undated_images_has_no_such_section() -> None:
    result = evaluate(dated().drop(columns="extra_date"), n_bootstrap=0)
    assert report.over_time_sections({"d": {"probe": result}}) == {}


@pytest.mark.usefixtures("cache_outside")
def test_dates_come_from_the_table_of_a_dataset_into_its_scores(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "b.png")
    (tmp_path / "t.csv").write_text("path,label,extra_date\na.png,0,2026-05\nb.png,1,2026-06\n")
    table, _ = build_manifest(tmp_path, IndexSettings(layout="csv"), 0)
    manifest.write(table, tmp_path / "m.csv")
    frame = scores_frame(manifest.read(tmp_path / "m.csv"), "clean", np.zeros(2), "ok")
    assert frame["extra_date"].tolist() == ["2026-05", "2026-06"]
