"""From results on disk to a report: nothing lost, nothing missing unsaid."""

import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation import comparison
from aigid.evaluation.evaluate import EvaluationResult, evaluate, read_results, write_result
from aigid.report import report, summary_tables


def made(detector: int) -> EvaluationResult:
    rng, k = np.random.default_rng(detector), np.arange(80)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in k], "label": k % 2, "view": "clean", "split": "test"})
    frame["generator"] = np.where(k % 2, np.where(k % 4 == 1, "NA", "2024"), "real")
    frame["score"] = np.clip(rng.normal(0.4 + 0.2 * frame["label"], 0.2), 0, 1)
    return evaluate(scores.validate(frame, "made"), n_bootstrap=20)


def all_fakes() -> pd.DataFrame:
    """A scores file of one class, which has no curve."""
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(9)], "label": 1, "generator": "x", "split": "test"})
    return scores.validate(frame.assign(view="clean", score=0.5), "one class")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, detector in enumerate(("probe", "a|b")):
        write_result(made(number), tmp_path, detector, "demo")
    return tmp_path


def test_a_judgement_comes_back_whole(root: Path) -> None:
    read, first = read_results(root)["probe", "demo"], made(0)
    assert (read.metrics, read.missing_metrics, read.warnings, read.view) == (
        first.metrics,
        first.missing_metrics,
        first.warnings,
        first.view,
    )
    pd.testing.assert_frame_equal(read.details, first.details, check_exact=True, check_dtype=False)
    pd.testing.assert_frame_equal(read.worst_errors, first.worst_errors, check_exact=True, check_dtype=False)
    assert set(read.details["name"]) == {"all", "NA", "2024"}


def test_metrics_are_flat_numbers(root: Path) -> None:
    assert {path.suffix for path in (root / "metrics").rglob("*.*")} == {".json"}
    for value in json.loads((root / "metrics/probe/demo.json").read_text()).values():
        assert isinstance(value, int | float)


def test_the_curves_of_all_detectors_stand_in_one_file(root: Path) -> None:
    write_result(evaluate(all_fakes(), n_bootstrap=0), root, "one class", "demo")
    found = read_results(root)
    report.write_curves(found, root / "curves")
    assert sorted(path.name for path in (root / "curves").iterdir()) == [
        *("demo.generators.csv", "demo.pr.csv", "demo.roc.csv")
    ]
    bars = pd.read_csv(root / "curves/demo.generators.csv", keep_default_na=False)
    own = found["probe", "demo"].parts("generator")
    assert bars.loc[bars["detector"] == "probe", "auroc"].tolist() == own["auroc"].dropna().tolist()
    for name, columns in {"roc": ["fpr", "tpr"], "pr": ["recall", "precision"]}.items():
        table = pd.read_csv(root / f"curves/demo.{name}.csv")
        assert list(table.columns) == ["detector", *columns]
        assert set(table["detector"]) == {"probe", "a|b"}
        for detector, rows in table.groupby("detector"):
            own = pd.read_csv(root / f"plots/{detector}/demo.{name}.csv")
            pd.testing.assert_frame_equal(rows[columns].reset_index(drop=True), own, check_exact=True)


def test_curves_that_are_all_empty_leave_a_header(root: Path) -> None:
    only = {("one class", "demo"): evaluate(all_fakes(), n_bootstrap=0)}
    report.write_curves(only, root / "curves")
    assert (root / "curves/demo.roc.csv").read_text() == "detector,fpr,tpr\n"


def test_an_incomplete_set_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="gendet/demo"):
        read_results(root, [("probe", "demo"), ("gendet", "demo")])
    with pytest.raises(InputError, match="no metrics"):
        read_results(root / "plots")


def test_the_report_shows_numbers_counts_and_gaps(root: Path) -> None:
    report.write(read_results(root), root / "report")
    text = (root / "report/table.md").read_text()
    found = read_results(root)["probe", "demo"]
    assert f"{found.metrics['auroc']:.3f} [" in text
    assert "| 2024 | 20 |" in text
    assert "acc_val" in text.split("Left out:")[1]
    assert r"a\|b" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    for name in ("demo-roc.png", "demo-generators.png"):
        assert (root / "report/figures" / name).stat().st_size > 5000


def test_figures_come_out_byte_for_byte_again(root: Path) -> None:
    report.write(read_results(root), root / "one")
    report.write(read_results(root), root / "two")
    files = [path for path in (root / "one").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".md", ".tex", ".png"}
    for first in files:
        assert first.read_bytes() == (root / "two" / first.relative_to(root / "one")).read_bytes()


def test_the_terminal_takes_any_name(root: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    summary_tables.show({"[bold]probe": made(0)}, console)
    assert "[bold]probe" in console.export_text()


class Tags(HTMLParser):
    """Collects what a page would fetch, and whether its tags close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(root: Path) -> None:
    info = {"command": "aigid evaluate & co"}
    report.write(read_results(root), root / "report", audit_warnings=["size alone tells <b>"], run_info=info)
    text = (root / "report/index.html").read_text()
    tags = Tags(text)
    assert tags.open == []
    assert tags.fetched == ["data:,"]
    assert "size alone tells &lt;b&gt;" in text
    assert "aigid evaluate &amp; co" in text


def test_latex_escapes_names_and_closes_rows(root: Path) -> None:
    report.write(read_results(root), root / "report")
    lines = (root / "report/table.tex").read_text().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 3
    assert len({line.count(" & ") for line in rows}) == 1
    assert r"TPR @5\% FPR" in rows[0]


def test_controls_that_succeed_stand_on_top(root: Path) -> None:
    probe, better = made(0), made(1)
    auroc = {"control_noise": 0.61, "control_shuffled": 0.6, "control_shallow": 0.7, "probe": 0.7, "gendet": 0.71}
    cells = {name: replace(probe, metrics={**better.metrics, "auroc": value}) for name, value in auroc.items()}
    lines = summary_tables.warnings(cells)
    assert [line.split()[0] for line in lines[:2]] == ["control_noise", "probe"]
    assert not any(line.startswith(("gendet does", "control_shuffled reaches")) for line in lines)


def test_differences_stand_in_every_form_of_the_report(root: Path) -> None:
    table = pd.DataFrame([["probe", "knn", "auroc", 0.0312, -0.01, 0.07, 0.0004, 80]], columns=comparison.COLUMNS)
    report.write(read_results(root), root / "report", differences={"demo": table})
    console = Console(width=120, record=True, file=io.StringIO())
    summary_tables.show({"probe": made(0)}, console, table)
    texts = [(root / "report/table.md").read_text(), (root / "report/index.html").read_text(), console.export_text()]
    for text in texts:
        told = text.replace("<small>", " ")
        assert "+0.031 [-0.010, +0.070]" in told
        assert "0.001" in text
