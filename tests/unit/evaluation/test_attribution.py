"""Attribution on a confusion that can be counted by hand, and Defactify's answer file."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from aigid.core import scores
from aigid.core.errors import InputError
from aigid.evaluation import attribution
from aigid.evaluation.attribution import DEFACTIFY_CLASSES

CLASSES = ["real", "sd21", "sdxl"]


def table(truth, taken, classes=CLASSES):
    """Rows of ``truth`` whose largest class is ``taken``."""
    rows = []
    for number, (name, found) in enumerate(zip(truth, taken, strict=True)):
        p = {f"class_{c}": 0.8 if c == found else 0.2 / (len(classes) - 1) for c in classes}
        row = {"path": f"test/image_{number}.png", "label": int(name != "real"), "generator": name, "split": "test"}
        rows.append(row | {"view": "clean", "score": 1 - p["class_real"], "group": f"g{number // 2}"} | p)
    return scores.validate(pd.DataFrame(rows), "table")


def test_by_hand():
    truth = ["real"] * 4 + ["sd21"] * 3 + ["sdxl"] * 2
    taken = ["real", "real", "sd21", "sdxl", "sd21", "sd21", "real", "sdxl", "sd21"]
    found = attribution.attribute(table(truth, taken), "clean")
    assert found.confusion.to_numpy().tolist() == [["real", 2, 1, 1], ["sd21", 1, 2, 0], ["sdxl", 0, 1, 1]]
    assert found.metrics["attribution_acc"] == 5 / 9
    assert found.metrics["attribution_f1_macro"] == pytest.approx((4 / 7 + 4 / 7 + 2 / 4) / 3)
    assert found.metrics["task_a_acc"] == 6 / 9  # two reals called generated, one fake called real
    assert found.metrics["task_a_f1"] == pytest.approx(2 * 4 / (2 * 4 + 3))
    assert found.classes["recall"].tolist() == [0.5, 2 / 3, 0.5]


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    truth, taken = rng.choice(CLASSES, 300), rng.choice(CLASSES, 300)
    found = attribution.attribute(table(truth, taken), "clean")
    assert found.metrics["attribution_f1_macro"] == pytest.approx(f1_score(truth, taken, average="macro"))
    parts = precision_recall_fscore_support(truth, taken, labels=CLASSES)
    for name, part in zip(("precision", "recall", "f1", "num"), parts, strict=True):
        np.testing.assert_allclose(found.classes[name], part)
    low, high = (found.metrics[f"attribution_f1_macro_{end}"] for end in ("low", "high"))
    assert low < found.metrics["attribution_f1_macro"] < high


def test_a_generator_that_is_no_class_counts_in_task_a_alone():
    found = attribution.attribute(table(["real", "sd21", "midjourney"], ["real", "sd21", "sdxl"]), "clean")
    assert found.metrics["num_unattributable"] == 1
    assert found.metrics["attribution_f1_macro"] == 1
    assert found.metrics["task_a_acc"] == 1
    assert found.confusion["generator"].tolist() == ["real", "sd21", "midjourney"]


def test_a_file_without_classes_is_refused():
    plain = table(["real", "sd21"], ["real", "sd21"]).drop(columns=[f"class_{name}" for name in CLASSES])
    with pytest.raises(InputError, match=r"attribution: no class_<name> columns in the scores.*found none"):
        attribution.attribute(plain, "clean")


def test_the_answer_file(tmp_path):
    names = list(DEFACTIFY_CLASSES)
    rows = table(["real", "dalle3", "sdxl"], ["sd3", "dalle3", "real"], names).assign(caption=["a", "b", "ü"])
    rows = rows[::-1].reset_index(drop=True)
    attribution.write_submission(attribution.submission(rows), tmp_path, "answer")
    first = (tmp_path / "answer.zip").read_bytes()
    attribution.write_submission(attribution.submission(rows), tmp_path, "answer")
    assert (tmp_path / "answer.zip").read_bytes() == first
    with zipfile.ZipFile(tmp_path / "answer.zip") as archive:
        assert archive.namelist() == ["answer.json"]
        found = json.loads(archive.read("answer.json"))
    assert found == [
        {"index": 0, "caption": "a", "Label_A": 1, "Label_B": 3},
        {"index": 1, "caption": "b", "Label_A": 1, "Label_B": 4},
        {"index": 2, "caption": "ü", "Label_A": 0, "Label_B": 0},
    ]
    assert json.loads((tmp_path / "answer.json").read_text()) == found


def test_task_a_follows_task_b_where_a_cut_at_half_would_not():
    names = list(DEFACTIFY_CLASSES)
    rows = table(["sd21"], ["real"], names)
    spread = {"class_real": 0.3, **{f"class_{name}": 0.14 for name in names[1:]}}
    rows = rows.assign(**spread, score=0.7)  # more probably generated than not, but no generator more than real
    assert attribution.submission(rows) == [{"index": 0, "caption": "", "Label_A": 0, "Label_B": 0}]


def test_six_classes_asked_of_a_model_of_two():
    two = table(["real", "sd21"], ["real", "sd21"], ["real", "sd21"])
    with pytest.raises(InputError, match="answer: the scores have no column class_sdxl; found real, sd21"):
        attribution.submission(two)
    odd = table(["real"] * 2, ["real"] * 2, list(DEFACTIFY_CLASSES)).assign(path=["a.png", "b7.png"])
    with pytest.raises(InputError, match=r"'a\.png': Defactify's index is the number"):
        attribution.submission(odd)


def test_the_report_shows_what_was_written(tmp_path):
    found = attribution.attribute(table(["real", "sd21", "sdxl"], ["real", "sd21", "sd21"]), "clean")
    attribution.write(found, tmp_path, "svm", "demo6")
    (tmp_path / "metrics/svm").mkdir(parents=True)
    (tmp_path / "metrics/svm/demo6.json").write_text(json.dumps(found.metrics))
    section = attribution.section(tmp_path, ["probe", "svm"], "demo6")
    assert "Task B" in section.intro
    shown = section.tables["Attribution"].iloc[0]
    assert shown["detector"] == "svm"
    assert shown["task B accuracy"] == "0.667"
    assert attribution.section(tmp_path, ["probe"], "demo6") is None


def test_confusion_tables_become_a_row_a_cell(tmp_path) -> None:
    folder = tmp_path / "details/svm"
    folder.mkdir(parents=True)
    (folder / "d.confusion.csv").write_text("generator,real,gan\nreal,3,1\ngan,0,2\n")
    table = attribution.confusions(tmp_path, ["probe", "svm"], "d")
    rows = {(row.generator, row.predicted): row.images for row in table.itertuples()}
    assert rows == {("real", "real"): 3, ("real", "gan"): 1, ("gan", "real"): 0, ("gan", "gan"): 2}
    assert set(table["detector"]) == {"svm"}
    assert list(attribution.confusions(tmp_path, ["probe"], "d")) == ["detector", "generator", "predicted", "images"]
