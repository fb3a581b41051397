"""What a finished `dvc repro` has learned: its training logs beside the loss of the class prior, and the warnings."""

from pathlib import Path

import pandas as pd
import pytest

from aigid.training import prior

pytestmark = pytest.mark.acceptance
RESULTS = Path(__file__).resolve().parents[2] / "results"
STAGE_1 = sorted((RESULTS / "training/featdistill_stage1").glob("*.csv"))


@pytest.mark.parametrize("path", STAGE_1, ids=lambda path: path.stem)
def test_featdistills_first_stage_ends_a_tenth_below_the_class_prior(path):
    last = pd.read_csv(path).iloc[-1]
    assert last["train_loss"] <= 0.9 * last[prior.COLUMN]


def test_the_report_warns_of_all_that_have_not_learned():
    report = (RESULTS / "report/table.md").read_text()
    assert all(line in report for line in prior.warnings(RESULTS / "training"))
