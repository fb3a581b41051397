"""What a finished `dvc repro` has learned: its training logs beside the loss of the class prior, and the warnings."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from aigid.training import prior

pytestmark = pytest.mark.acceptance
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "results"
EXPERTS = list(yaml.safe_load((ROOT / "params.yaml").read_text())["featdistill"]["experts"])


@pytest.mark.parametrize("name", EXPERTS)
def test_featdistills_first_stage_ends_a_tenth_below_the_class_prior(name):
    """A log that is missing fails the test."""
    last = pd.read_csv(RESULTS / f"training/featdistill_stage1/{name}.csv").iloc[-1]
    assert last["train_loss"] <= 0.9 * last[prior.COLUMN]


def test_the_report_warns_of_all_that_have_not_learned():
    report = (RESULTS / "report/table.md").read_text()
    assert all(line in report for line in prior.warnings(RESULTS / "training"))
