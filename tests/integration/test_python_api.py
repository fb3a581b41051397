"""`aigid.evaluate` and `aigid.audit` against the commands of these names."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

import aigid
from aigid.core.errors import InputError
from tests.helpers.cli import aigid as command
from tests.helpers.images import class_folders


@pytest.fixture
def scores(tmp_path):
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    names = np.where(label == 1, "sdxl", "real")
    table = pd.DataFrame({"path": [f"{n}.png" for n in range(200)], "label": label, "generator": names})
    table = table.assign(split=np.where(label < 2, "test", ""), view="clean", score=rng.random(200) * 0.6 + 0.3 * label)
    table.loc[:99, "split"] = "val"
    table.to_csv(tmp_path / "s.csv", index=False)
    return tmp_path, pd.read_csv(tmp_path / "s.csv")


def test_evaluate_is_the_command(scores):
    folder, table = scores
    done = command("evaluate", "s.csv", "--json", "--fpr", "0.1", cwd=folder)
    found = json.loads(done.stdout)
    assert aigid.evaluate(folder / "s.csv", fpr=0.1).metrics == pytest.approx(found, abs=1e-12)
    theirs = table.rename(columns={"score": "prob_fake"})
    assert aigid.evaluate(theirs, columns={"score": "prob_fake"}, fpr=0.1).metrics == pytest.approx(found, abs=1e-12)
    with pytest.raises(InputError, match=r"fpr.*less than"):
        aigid.evaluate(table, fpr=2)
    with pytest.raises(InputError, match="score"):
        aigid.evaluate(theirs)


def test_audit_is_the_command(tmp_path):
    class_folders(tmp_path / "images")
    assert command("index", "images", "--layout", "realfake", "--out", "m.csv", cwd=tmp_path).exit_code == 0
    found = json.loads(command("audit", "m.csv", "--root", "images", "--json", cwd=tmp_path).stdout)
    audit = aigid.audit(tmp_path / "m.csv", tmp_path / "images")
    assert json.loads(json.dumps(asdict(audit))) == found
    assert asdict(aigid.audit(pd.read_csv(tmp_path / "m.csv", keep_default_na=False), tmp_path / "images")) == asdict(
        audit
    )
    with pytest.raises(InputError, match=r"auroc_threshold.*0\.5"):
        aigid.audit(tmp_path / "m.csv", tmp_path / "images", auroc_threshold=0.1)
