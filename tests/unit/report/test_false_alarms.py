"""False alarms on edited photographs: by hand from scores to the table, in `aigid evaluate`, and on a card."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation.evaluate import evaluate
from aigid.report import risks
from tests.helpers.cli import aigid

HIGH = {  # reals of 10 a source above the operating point, by view and source
    "clean": {"phone": 0, "press": 1},
    "denoise": {"phone": 3, "press": 4},
    "collage": {"phone": 10, "press": 0},
}


@pytest.fixture
def table():
    """Validation of both classes, whose operating point is 0.4; of test reals alone, in two edits and another view."""
    rows = [("val", "real", "", f"v{k}.png", "clean", 0.4 if k == 0 else 0.1) for k in range(100)]
    rows += [("val", "gan", "", f"f{k}.png", "clean", 0.9) for k in range(100)]
    for view, counts in {**HIGH, "jpeg70": {"phone": 5, "press": 5}}.items():
        for source, num in counts.items():
            rows += [("test", "real", source, f"{source}{k}.png", view, 0.45 if k < num else 0.2) for k in range(10)]
    frame = pd.DataFrame(rows, columns=["split", "generator", "source", "path", "view", "score"])
    return frame.assign(label=(frame["generator"] != "real").astype(int))


def test_a_table_by_hand(table):
    result = evaluate(scores.validate(table, "made"), n_bootstrap=0)
    assert 0.2 < result.deployment.operating_point.threshold < 0.45
    ((title, found),) = risks.by_edit({"probe": result}).items()
    assert title == "probe: FPR at the operating point, by source and edit"
    found = found.set_index("source")
    assert list(found) == ["reals", "clean", "denoise", "collage"]
    assert found["reals"].tolist() == ["20", "10", "10"]
    for view, counts in HIGH.items():
        assert {name: float(found.loc[name, view]) * 10 for name in counts} == pytest.approx(counts)
        num = sum(counts.values())
        bounds = binomtest(num, 20).proportion_ci(method="wilson")
        assert found.loc["all", view] == f"{num / 20:.3f} [{bounds.low:.3f}, {bounds.high:.3f}]"


def test_without_edits_or_validation_there_is_no_table(table):
    plain = table[~table["view"].isin(risks.EDITS)]
    assert risks.by_edit({"probe": evaluate(scores.validate(plain, "made"), n_bootstrap=0)}) == {}
    untold = table[table["split"] == "test"]
    assert risks.by_edit({"probe": evaluate(scores.validate(untold, "made"), n_bootstrap=0)}) == {}


def test_evaluate_shows_it_and_writes_it_to_details(table, tmp_path):
    table.to_csv(tmp_path / "s.csv", index=False)
    done = aigid("evaluate", "s.csv", "--out", "out", cwd=tmp_path)
    assert done.exit_code == 0, done.stderr
    assert "FPR at the operating point, by source and edit" in done.stdout
    details = pd.read_csv(tmp_path / "out/details/s/scores.csv").query("kind == 'source' and view == 'denoise'")
    assert details.set_index("name")["fpr_operating"].to_dict() == pytest.approx({"phone": 0.3, "press": 0.4})
    assert "by source and edit" in (tmp_path / "out/report/index.html").read_text()


def test_a_table_is_read_back_without_its_provenance(tmp_path):
    columns = {"source": ["all"], "reals": ["9"], "clean": ["0.1"], "denoise": ["0.2"], "machine": ["m"]}
    pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
    assert risks.read_edits(tmp_path / "t.csv").to_dict("list") == {
        name: cells for name, cells in columns.items() if name != "machine"
    }
    pd.DataFrame({"source": ["all"], "reals": [9], "blur": [np.pi]}).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"t\.csv: has no edit; known: denoise, sharpen"):
        risks.read_edits(tmp_path / "t.csv")
