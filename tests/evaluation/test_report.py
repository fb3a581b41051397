"""From judgements on disk to a report: nothing lost on the way, nothing missing unsaid."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from aigid.errors import InputError
from aigid.evaluation import report, results, scores, terminal
from aigid.evaluation.judge import Judgement, judge


def made(detector: int) -> Judgement:
    rng, k = np.random.default_rng(detector), np.arange(80)
    frame = pd.DataFrame({"path": [f"{i}.png" for i in k], "label": k % 2, "view": "clean", "split": "test"})
    frame["generator"] = np.where(k % 2, np.where(k % 4 == 1, "NA", "2024"), "real")
    frame["score"] = np.clip(rng.normal(0.4 + 0.2 * frame["label"], 0.2), 0, 1)
    return judge(scores.validate(frame, "made"), draws=20)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, detector in enumerate(("probe", "a|b")):
        results.write(made(number), tmp_path, detector, "demo")
    return tmp_path


def test_a_judgement_comes_back_whole(root: Path) -> None:
    read, first = results.read(root)["probe", "demo"], made(0)
    assert (read.metrics, read.omitted, read.warnings, read.view) == (
        first.metrics,
        first.omitted,
        first.warnings,
        first.view,
    )
    pd.testing.assert_frame_equal(read.details, first.details, check_exact=True, check_dtype=False)
    pd.testing.assert_frame_equal(read.hardest, first.hardest, check_exact=True, check_dtype=False)
    assert set(read.details["name"]) == {"all", "NA", "2024"}


def test_metrics_are_flat_numbers(root: Path) -> None:
    assert {path.suffix for path in (root / "metrics").rglob("*.*")} == {".json"}
    for value in json.loads((root / "metrics/probe/demo.json").read_text()).values():
        assert isinstance(value, int | float)


def test_an_incomplete_set_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="gendet/demo"):
        report.write(root, root / "report", [("probe", "demo"), ("gendet", "demo")])
    assert not (root / "report").exists()
    with pytest.raises(InputError, match="no metrics"):
        results.read(root / "plots")


def test_the_report_shows_numbers_counts_and_gaps(root: Path) -> None:
    report.write(root, root / "report")
    text = (root / "report/table.md").read_text()
    found = results.read(root)["probe", "demo"]
    assert f"{found.metrics['auroc']:.3f} [" in text
    assert "| 2024 | 20 |" in text
    assert "acc_val" in text.split("Left out:")[1]
    assert r"a\|b" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    for name in ("demo-roc.png", "demo-generators.png"):
        assert (root / "report" / name).stat().st_size > 5000


def test_figures_come_out_byte_for_byte_again(root: Path) -> None:
    report.write(root, root / "one")
    report.write(root, root / "two")
    for first in (root / "one").iterdir():
        assert first.read_bytes() == (root / "two" / first.name).read_bytes()


def test_the_terminal_takes_any_name(root: Path) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    terminal.show({"[bold]probe": made(0)}, console)
    assert "[bold]probe" in console.export_text()
